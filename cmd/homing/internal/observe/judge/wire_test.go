package judge

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// vec8 and vec16 are bytes behind their length, and block is a record.
func vec8(b []byte) []byte { return append([]byte{byte(len(b))}, b...) }

func vec16(b []byte) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) }

func record(typ byte, b []byte) []byte { return append([]byte{typ, 3, 3}, vec16(b)...) }

func message(typ byte, body []byte) []byte {
	return slices.Concat([]byte{typ, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body)
}

func ext(typ uint16, body []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, typ), vec16(body)...)
}

// noise is n bytes that belong to a word.
func noise(word string, n int) (b []byte) {
	for i := 0; len(b) < n; i++ {
		sum := sha256.Sum256([]byte(word + strconv.Itoa(i)))
		b = append(b, sum[:]...)
	}
	return b[:n]
}

// ticketOf is ticket KEY.NUMBER: of keys in capitals the first 16 bytes are their name, the others have none. mem.NUMBER is
// a handle of 32 bytes.
func ticketOf(word string) []byte {
	key, _, _ := strings.Cut(word, ".")
	switch {
	case key == "mem":
		return noise(word, 32)
	case key == strings.ToUpper(key):
		return append(noise("key "+key, 16), noise(word, 160)...)
	}
	return noise(word, 176)
}

// helloBytes is a ClientHello's message.
type helloBytes struct {
	name, id, ticket, psk string
	tls13, early          bool
	share                 uint16
	random                string
}

func (h *helloBytes) message() []byte {
	id := []byte(nil)
	switch {
	case h.id != "":
		id = noise(h.id, 32)
	case h.tls13:
		id = noise("random "+h.random, 32)
	}
	exts := [][]byte{ext(10, vec16([]byte{0, 29}))}
	if h.name != "" {
		exts = append(exts, ext(0, vec16(append([]byte{0}, vec16([]byte(h.name))...))))
	}
	if h.ticket != "" {
		exts = append(exts, ext(35, ticketOf(h.ticket)))
	}
	if h.tls13 {
		exts = append(exts, ext(43, vec8([]byte{3, 4, 3, 3})))
		share := binary.BigEndian.AppendUint16(nil, max(h.share, 29))
		exts = append(exts, ext(51, vec16(append(share, vec16(noise("share", 32))...))))
	}
	if h.early {
		exts = append(exts, ext(42, nil))
	}
	if h.psk != "" {
		identity := append(vec16(ticketOf(h.psk)), 0, 0, 0, 0)
		exts = append(exts, ext(41, append(vec16(identity), vec16(vec8(noise("binder", 32)))...)))
	}
	return message(1, slices.Concat([]byte{3, 3}, noise("client random "+h.random, 32), vec8(id), vec16([]byte{0x13, 1, 0xc0, 0x2f}),
		vec8([]byte{0}), vec16(slices.Concat(exts...))))
}

// serverHello is a ServerHello's record.
func serverHello(tls13 bool, id []byte, random []byte, exts ...[]byte) []byte {
	if tls13 {
		exts = append(exts, ext(43, []byte{3, 4}))
	}
	return record(22, message(2, slices.Concat([]byte{3, 3}, random, vec8(id), []byte{0x13, 1, 0}, vec16(slices.Concat(exts...)))))
}

// retryRandom makes a ServerHello a HelloRetryRequest (RFC 9846, Section 4.2.4).
func retryRandom() []byte {
	sum := sha256.Sum256([]byte("HelloRetryRequest"))
	return sum[:]
}

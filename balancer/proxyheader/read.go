package proxyheader

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// Status says how far Read or a Watch has come.
type Status uint8

// The states.
const (
	NeedMore Status = iota // all so far is the begin of a header
	Got
	Invalid // no header of either version, or too long, or contradictory
)

// Max is the length of the longest header that Read takes, in bytes: 16 KiB behind the fixed part, as much as HAProxy's
// buffer holds, has room for a chain of client certificates (PP2_SUBTYPE_SSL_CLIENT_CERT).
const Max = fixed2 + 16<<10

// Signatures of the two versions (sections 2.1 and 2.2), and how long the first version's line may be.
const (
	signature1 = "PROXY "
	signature2 = "\r\n\r\n\x00\r\nQUIT\n"
	fixed2     = 16
	maxLine    = 107
)

// Watch follows whether a stream begins with the signature of a header, in whatever pieces it comes. It keeps no byte of
// it: what may still become a signature is a part of a constant. The zero Watch has seen nothing.
type Watch struct {
	n  uint8 // bytes seen, each as the signature has it
	v2 bool
}

// Next takes the next piece: Got, a header begins; Invalid, none does; NeedMore, neither is said yet. The first two are
// final.
func (w *Watch) Next(b []byte) Status {
	for _, c := range b {
		if w.n == 0 {
			w.v2 = c == signature2[0]
		}
		signature := w.signature()
		if c != signature[w.n] {
			return Invalid
		}
		if w.n++; int(w.n) == len(signature) {
			return Got
		}
	}
	return NeedMore
}

// Held is all the pieces for which Next has answered NeedMore.
func (w *Watch) Held() string { return w.signature()[:w.n] }

func (w *Watch) signature() string {
	if w.v2 {
		return signature2
	}
	return signature1
}

// Read reads the header that stream begins with and returns its length. stream is all bytes so far and may grow from call
// to call. Client is not valid where the sender speaks for itself, or for a connection of another kind than TCP: the peer's
// own address stands then (section 2.2). What follows the header is not looked at.
func Read(stream []byte) (n int, h Header, s Status) {
	n, v2, s := frame(stream)
	if s != Got {
		return 0, Header{}, s
	}
	var ok bool
	if v2 {
		h, ok = read2(stream[:n])
	} else {
		h, ok = read1(stream[:n])
	}
	if !ok || h.Client.IsValid() && (h.Client.Addr().IsUnspecified() || h.Client.Addr().IsMulticast()) {
		return 0, Header{}, Invalid
	}
	return n, h, Got
}

// frame finds the header's length.
func frame(b []byte) (n int, v2 bool, s Status) {
	var w Watch
	if s := w.Next(b); s != Got {
		return 0, false, s
	}
	if !w.v2 {
		end := bytes.Index(b[:min(len(b), maxLine)], []byte("\r\n"))
		switch {
		case end >= 0:
			return end + 2, false, Got
		case len(b) >= maxLine:
			return 0, false, Invalid
		}
		return 0, false, NeedMore
	}
	if len(b) < fixed2 {
		return 0, true, NeedMore
	}
	n = fixed2 + int(binary.BigEndian.Uint16(b[14:]))
	switch {
	case n > Max:
		return 0, true, Invalid
	case len(b) < n:
		return 0, true, NeedMore
	}
	return n, true, Got
}

// read1 reads a whole line of version 1.
func read1(line []byte) (Header, bool) {
	header, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(line), maxLine))
	if err != nil {
		return Header{}, false
	}
	if header.Command.IsLocal() { // UNKNOWN
		return Header{}, true
	}
	from, to, ok := header.TCPAddrs()
	if !ok {
		return Header{}, false
	}
	h := Header{Client: plain(from.AddrPort()), Local: plain(to.AddrPort())}
	return h, h.Client.IsValid()
}

// Versions with commands, and address families with transports, of version 2 (section 2.2).
const (
	local2 = 0x20
	proxy2 = 0x21

	unspec        = 0x00
	tcp4, udp4    = 0x11, 0x12
	tcp6, udp6    = 0x21, 0x22
	stream, dgram = 0x31, 0x32 // of unix sockets

	addresses4    = 4 + 4 + 2 + 2
	addresses6    = 16 + 16 + 2 + 2
	addressesUnix = 108 + 108
)

// read2 reads a whole header of version 2.
func read2(b []byte) (h Header, ok bool) {
	block := b[fixed2:]
	switch b[12] {
	case local2: // all the rest is to be ignored, the family too
		return Header{}, true
	case proxy2:
	default:
		return Header{}, false
	}
	size := 0
	switch b[13] {
	case unspec: // what follows has no shape
		return Header{}, true
	case tcp4, udp4:
		size = addresses4
	case tcp6, udp6:
		size = addresses6
	case stream, dgram:
		size = addressesUnix
	default:
		return Header{}, false // "must be rejected as invalid by receivers"
	}
	if len(block) < size || !wellFormed(b, fixed2+size) {
		return Header{}, false
	}
	port := func(i int) uint16 { return binary.BigEndian.Uint16(block[i:]) }
	switch b[13] {
	case tcp4:
		h.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte(block)), port(8))
		h.Local = netip.AddrPortFrom(netip.AddrFrom4([4]byte(block[4:])), port(10))
	case tcp6:
		h.Client = plain(netip.AddrPortFrom(netip.AddrFrom16([16]byte(block)), port(32)))
		h.Local = plain(netip.AddrPortFrom(netip.AddrFrom16([16]byte(block[16:])), port(34)))
	}
	return h, true
}

// Values of version 2 that are looked at, and the longest that they may be, in bytes (sections 2.2.1 to 2.2.6; HAProxy
// takes no longer ones either).
const (
	valueAuthority = 0x02
	valueCRC32C    = 0x03
	valueUnique    = 0x05

	maxAuthority = 255
	maxUnique    = 128
	crcLen       = 4
)

// wellFormed says whether the values that begin at an offset end where the header b does, have the lengths that they may
// have, and whether its checksum, if there is one, is right.
func wellFormed(b []byte, at int) bool {
	summed := false
	for at < len(b) {
		if len(b)-at < 3 {
			return false
		}
		kind, n := b[at], int(binary.BigEndian.Uint16(b[at+1:]))
		if at += 3; n > len(b)-at {
			return false
		}
		switch kind {
		case valueAuthority:
			if n > maxAuthority {
				return false
			}
		case valueUnique:
			if n > maxUnique {
				return false
			}
		case valueCRC32C:
			if n != crcLen || summed || checksum(b, at) != binary.BigEndian.Uint32(b[at:]) {
				return false
			}
			summed = true
		}
		at += n
	}
	return true
}

// checksum is the CRC32c of a header, in which the four bytes of the checksum itself count as zero (section 2.2.3).
func checksum(b []byte, at int) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // always the same
	sum := ^crc32.Update(0, table, b[:at])
	for range crcLen { // a slice of zeros would be on the heap
		sum = table[byte(sum)] ^ sum>>8
	}
	return crc32.Update(^sum, table, b[at+crcLen:])
}

package report

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	"homing/cmd/homing/internal/observe/judge"
)

// Anonymize returns the findings with hashes in place of all addresses, names, and files. The same key makes the same
// hashes; who does not have it cannot try out addresses. Ports, and which addresses are of one network (/24, /48), stay.
//
// files are the names of the captures, which may stand in what is said of them, as an interface's may.
func Anonymize(f *judge.Findings, key []byte, files ...string) *judge.Findings {
	h := hasher(key)
	c := *f
	c.Kinds, c.Rows, c.ByName = h.rows(f.Kinds), h.rows(f.Rows), h.rows(f.ByName)
	c.Servers = slices.Clone(f.Servers)
	for i := range c.Servers {
		c.Servers[i].Address = h.address(c.Servers[i].Address)
	}
	c.Keys = slices.Clone(f.Keys)
	for i := range c.Keys {
		k := &c.Keys[i]
		k.ID = h.short("key", k.ID, 8)
		k.Holders = slices.Clone(k.Holders)
		for n := range k.Holders {
			k.Holders[n] = h.address(k.Holders[n])
		}
	}
	if c.Capture.Source != "" {
		c.Capture.Source = h.short("capture", c.Capture.Source, 8)
	}
	for _, file := range append(slices.Clip(files), f.Capture.Source) {
		if file == "" || file == "-" { // stdin, of which is spoken by that name
			continue
		}
		c.Capture.Ended = strings.ReplaceAll(c.Capture.Ended, "interface "+file, "the interface")
		c.Capture.Ended = strings.ReplaceAll(c.Capture.Ended, file, "a capture")
	}
	return &c
}

type hasher []byte

// short is a word and some digits of a hash of text, which is of the kind that the word names.
func (h hasher) short(word, text string, digits int) string {
	mac := hmac.New(sha256.New, h)
	mac.Write([]byte(word + "\x00" + text))
	return word + "-" + hex.EncodeToString(mac.Sum(nil))[:digits]
}

func (h hasher) rows(rows []judge.Row) []judge.Row {
	rows = slices.Clone(rows)
	for i := range rows {
		r := &rows[i]
		if r.Service != "" {
			r.Service = h.address(r.Service)
		}
		if r.Name != "" && r.Name != judge.Others {
			r.Name = h.short("name", r.Name, 8)
		}
	}
	return rows
}

// address hashes the network and the whole of an address apart.
func (h hasher) address(s string) string {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		if s == judge.Others {
			return s
		}
		return h.short("host", s, 8)
	}
	bits := 48
	if ap.Addr().Is4() {
		bits = 24
	}
	network, err := ap.Addr().WithZone("").Prefix(bits)
	if err != nil {
		return h.short("host", s, 8)
	}
	host := h.short("host", ap.Addr().String(), 6)
	_, port, _ := strings.Cut(s[strings.LastIndex(s, ":"):], ":")
	return h.short("net", network.String(), 4) + "." + host + ":" + port
}

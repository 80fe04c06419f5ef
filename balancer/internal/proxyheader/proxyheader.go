// Package proxyheader writes and reads the header of the PROXY protocol, by which a proxy tells the next hop whose
// connection it passes on (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt). The format itself is the
// library's; here are the framing of a header that arrives in pieces, the bounds, and addresses as netip has them.
package proxyheader

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

// Version says which header is sent, if any.
type Version uint8

// The versions.
const (
	None Version = iota
	V1           // a line of text: addresses only
	V2           // binary, with the server name and the first protocol that the client offers
)

func (v Version) String() string { return [...]string{"off", "v1", "v2"}[v] }

// Max is the length of the longest header that Read takes, in bytes: the library's own bound is 4 KiB more than what
// senders use, and a header that carries a client certificate is none for a balancer to pass over.
const Max = 2048

// maxTLV bounds a value that Append sends: a server name has 255 bytes at most, as has a protocol (RFC 7301, 3.1).
const maxTLV = 255

// Header is what one says of a connection.
type Header struct {
	Client netip.AddrPort // who connected; not valid: nobody is spoken for (LOCAL, UNKNOWN)
	Local  netip.AddrPort // what the client connected to
	Name   []byte         // server name of its hello; empty: none. Version 2 only
	ALPN   []byte         // the protocol that it offers first; empty: none. Version 2 only
}

// Append appends the header in the given version. Addresses of different families are told as UNKNOWN in version 1 and
// LOCAL in version 2, since neither version can say them. An error is a value that is too long.
func Append(dst []byte, v Version, h *Header) ([]byte, error) {
	if v == None {
		return dst, nil
	}
	client, local := plain(h.Client), plain(h.Local)
	header := &proxyproto.Header{Version: byte(v), Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}
	if client.IsValid() && local.IsValid() && client.Addr().Is4() == local.Addr().Is4() {
		header = proxyproto.HeaderProxyFromAddrs(byte(v), net.TCPAddrFromAddrPort(client), net.TCPAddrFromAddrPort(local))
	}
	if v == V2 && header.Command == proxyproto.PROXY {
		var values []proxyproto.TLV
		for _, one := range []struct {
			kind  proxyproto.PP2Type
			value []byte
		}{{proxyproto.PP2_TYPE_AUTHORITY, h.Name}, {proxyproto.PP2_TYPE_ALPN, h.ALPN}} {
			if len(one.value) > maxTLV {
				return dst, fmt.Errorf("proxyheader: a value of %d bytes", len(one.value))
			}
			if len(one.value) > 0 {
				values = append(values, proxyproto.TLV{Type: one.kind, Value: one.value})
			}
		}
		if err := header.SetTLVs(values); err != nil {
			return dst, fmt.Errorf("proxyheader: %w", err)
		}
	}
	text, err := header.Format()
	if err != nil {
		return dst, fmt.Errorf("proxyheader: %w", err)
	}
	return append(dst, text...), nil
}

// Status says how far Read has come.
type Status uint8

// The states.
const (
	NeedMore Status = iota // all so far is the begin of a header
	Got
	Invalid // no header of either version, or too long, or contradictory
)

// Signatures of the two versions (sections 2.1 and 2.2), and how long the first version's line may be.
const (
	signature1 = "PROXY "
	signature2 = "\r\n\r\n\x00\r\nQUIT\n"
	fixed2     = 16
	maxLine    = 107
)

// Read reads the header that stream begins with and returns its length. stream is all bytes so far and may grow from call
// to call. Client is not valid where the sender speaks for itself. What follows the header is not looked at.
func Read(stream []byte) (n int, h Header, s Status) {
	n, s = frame(stream)
	if s != Got {
		return 0, Header{}, s
	}
	header, err := proxyproto.Read(bufio.NewReader(bytes.NewReader(stream[:n])))
	if err != nil {
		return 0, Header{}, Invalid
	}
	if header.Command.IsLocal() || header.TransportProtocol.IsUnspec() {
		return n, Header{}, Got
	}
	from, to, ok := header.TCPAddrs()
	if !ok { // a datagram or a path: not what comes over TCP
		return 0, Header{}, Invalid
	}
	h.Client, h.Local = plain(from.AddrPort()), plain(to.AddrPort())
	if !h.Client.IsValid() || h.Client.Addr().IsUnspecified() || h.Client.Addr().IsMulticast() {
		return 0, Header{}, Invalid
	}
	return n, h, Got
}

// frame finds the header's length.
func frame(b []byte) (int, Status) {
	switch {
	case hasBegin(b, signature1):
		end := bytes.Index(b[:min(len(b), maxLine)], []byte("\r\n"))
		switch {
		case end >= 0:
			return end + 2, Got
		case len(b) >= maxLine:
			return 0, Invalid
		}
		return 0, NeedMore
	case hasBegin(b, signature2):
		if len(b) < fixed2 {
			return 0, NeedMore
		}
		n := fixed2 + int(b[14])<<8 + int(b[15])
		switch {
		case n > Max:
			return 0, Invalid
		case len(b) < n:
			return 0, NeedMore
		}
		return n, Got
	}
	return 0, Invalid
}

// Begins reports whether b begins with the signature of a header.
func Begins(b []byte) bool {
	return len(b) >= len(signature1) && hasBegin(b, signature1) || len(b) >= len(signature2) && hasBegin(b, signature2)
}

// hasBegin reports whether b begins as the signature does, as far as either goes.
func hasBegin(b []byte, signature string) bool {
	n := min(len(b), len(signature))
	return string(b[:n]) == signature[:n]
}

// plain is an address as the header has it: no IPv4 in IPv6, no zone.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

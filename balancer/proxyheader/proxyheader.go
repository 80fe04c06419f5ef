// Package proxyheader writes and reads the header of the PROXY protocol, by which a proxy tells the next hop whose
// connection it passes on (https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt). What is sent, and the lines of
// version 1, are the library's; here are the framing of a header that arrives in pieces, the bounds, and version 2 as it is
// read, for the library copies each value, checks none, and has its bound in a variable.
package proxyheader

import (
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

// plain is an address as the header has it: no IPv4 in IPv6, no zone.
func plain(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())
}

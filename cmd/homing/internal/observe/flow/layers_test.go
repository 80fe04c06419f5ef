package flow

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"homing/cmd/homing/internal/observe/capture"
)

type layered = []gopacket.SerializableLayer

var usual6 = ends{netip.MustParseAddrPort("[2001:db8::1]:50000"), netip.MustParseAddrPort("[2001:db8::2]:443")}

// outer is a tunnel's IP header.
func outer(p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: p, SrcIP: net.IP{10, 0, 0, 1}, DstIP: net.IP{10, 0, 0, 2}}
}

func tag(t layers.EthernetType, vlan uint16) *layers.Dot1Q {
	return &layers.Dot1Q{VLANIdentifier: vlan, Type: t}
}

// under puts an Ethernet header before others.
func under(t layers.EthernetType, rest ...gopacket.SerializableLayer) layered {
	return append(layered{&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: t}}, rest...)
}

// mirrored is a frame as a mirror's tunnel carries it.
func mirrored(e ends, s *seen) layered { return append(layered{ethernet(e)}, e.ip(s)...) }

func ipType(e ends) layers.EthernetType { return ethernet(e).EthernetType }

// erspan3Header is one of type III, in front of a frame; with the part that is only there if it says so.
func erspan3Header(extra bool) gopacket.Payload {
	b := make([]byte, 12, 20)
	b[0] = 2 << 4
	if extra {
		b[11] = 1
		b = b[:20]
	}
	return b
}

// encapsulations are all ways in which a segment may be captured.
func encapsulations() map[string]struct {
	link layers.LinkType
	wrap func(ends, *seen) layered
} {
	type how = struct {
		link layers.LinkType
		wrap func(ends, *seen) layered
	}
	udp := func(port layers.UDPPort) *layers.UDP { return &layers.UDP{SrcPort: 50123, DstPort: port} }
	return map[string]how{
		"Ethernet": {layers.LinkTypeEthernet, mirrored},
		"VLAN": {layers.LinkTypeEthernet, func(e ends, s *seen) layered {
			return append(under(layers.EthernetTypeDot1Q, tag(ipType(e), 7)), e.ip(s)...)
		}},
		"QinQ": {layers.LinkTypeEthernet, func(e ends, s *seen) layered {
			return append(under(layers.EthernetTypeQinQ, tag(layers.EthernetTypeDot1Q, 8), tag(ipType(e), 7)), e.ip(s)...)
		}},
		"SLL": {layers.LinkTypeLinuxSLL, func(e ends, s *seen) layered {
			h := make(gopacket.Payload, 16)
			binary.BigEndian.PutUint16(h[14:], uint16(ipType(e)))
			return append(layered{h}, e.ip(s)...)
		}},
		"SLL, VLAN": {layers.LinkTypeLinuxSLL, func(e ends, s *seen) layered {
			h := make(gopacket.Payload, 16)
			binary.BigEndian.PutUint16(h[14:], uint16(layers.EthernetTypeDot1Q))
			return append(layered{h, tag(ipType(e), 7)}, e.ip(s)...)
		}},
		"SLL2": {layers.LinkTypeLinuxSLL2, func(e ends, s *seen) layered {
			h := make(gopacket.Payload, 20)
			binary.BigEndian.PutUint16(h, uint16(ipType(e)))
			return append(layered{h}, e.ip(s)...)
		}},
		"null, of any system": {layers.LinkTypeNull, func(e ends, s *seen) layered {
			return append(layered{gopacket.Payload{23, 0, 0, 0}}, e.ip(s)...) // Windows' for IPv6
		}},
		"loop": {layers.LinkTypeLoop, func(e ends, s *seen) layered {
			return append(layered{gopacket.Payload{0, 0, 0, 2}}, e.ip(s)...)
		}},
		"raw":            {layers.LinkTypeRaw, ends.ip},
		"raw of the BSD": {linkTypeRawBSD, ends.ip},
		"IPv4 or IPv6":   {layers.LinkTypeIPv4, ends.ip},
		"IP in IP": {layers.LinkTypeRaw, func(e ends, s *seen) layered {
			p := layers.IPProtocolIPv4
			if e.client.Addr().Is6() {
				p = layers.IPProtocolIPv6
			}
			return append(layered{outer(p)}, e.ip(s)...)
		}},
		"GRE of IP": {layers.LinkTypeEthernet, func(e ends, s *seen) layered {
			return append(under(layers.EthernetTypeIPv4, outer(layers.IPProtocolGRE), &layers.GRE{Protocol: ipType(e)}), e.ip(s)...)
		}},
		"GRE of Ethernet": {layers.LinkTypeEthernet, func(e ends, s *seen) layered {
			return append(under(layers.EthernetTypeIPv4, outer(layers.IPProtocolGRE), &layers.GRE{
				Protocol: layers.EthernetTypeTransparentEthernetBridging, KeyPresent: true, Key: 5,
			}), mirrored(e, s)...)
		}},
		"VXLAN": {layers.LinkTypeEthernet, func(e ends, s *seen) layered {
			return append(under(layers.EthernetTypeIPv4, outer(layers.IPProtocolUDP), udp(4789), &layers.VXLAN{ValidIDFlag: true, VNI: 5}),
				mirrored(e, s)...)
		}},
		"Geneve": {layers.LinkTypeEthernet, func(e ends, s *seen) layered {
			return append(under(layers.EthernetTypeIPv4, outer(layers.IPProtocolUDP), udp(6081), &layers.Geneve{
				Protocol: layers.EthernetTypeTransparentEthernetBridging,
			}), mirrored(e, s)...)
		}},
		"ERSPAN I": {layers.LinkTypeEthernet, func(e ends, s *seen) layered {
			return append(under(layers.EthernetTypeIPv4, outer(layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeERSPAN}),
				mirrored(e, s)...)
		}},
		"ERSPAN II": {layers.LinkTypeEthernet, func(e ends, s *seen) layered {
			return append(under(layers.EthernetTypeIPv4, outer(layers.IPProtocolGRE), &layers.GRE{
				Protocol: layers.EthernetTypeERSPAN, SeqPresent: true, Seq: 9,
			}, &layers.ERSPANII{Version: layers.ERSPANIIVersion, SessionID: 3}), mirrored(e, s)...)
		}},
		"ERSPAN III": {layers.LinkTypeEthernet, func(e ends, s *seen) layered {
			return append(under(layers.EthernetTypeIPv4, outer(layers.IPProtocolGRE), &layers.GRE{
				Protocol: protocolERSPAN3, SeqPresent: true, Seq: 9,
			}, erspan3Header(false)), mirrored(e, s)...)
		}},
		"ERSPAN III with its extra header": {layers.LinkTypeEthernet, func(e ends, s *seen) layered {
			return append(under(layers.EthernetTypeIPv4, outer(layers.IPProtocolGRE), &layers.GRE{
				Protocol: protocolERSPAN3, SeqPresent: true, Seq: 9,
			}, erspan3Header(true)), mirrored(e, s)...)
		}},
		"VXLAN in GRE": {layers.LinkTypeEthernet, func(e ends, s *seen) layered {
			return append(under(layers.EthernetTypeIPv4, outer(layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeIPv4},
				outer(layers.IPProtocolUDP), udp(4789), &layers.VXLAN{ValidIDFlag: true}), mirrored(e, s)...)
		}},
	}
}

// TestEncapsulations: the same is told of a conn whatever its packets are in, of IPv4 and IPv6, and in fragments.
func TestEncapsulations(t *testing.T) {
	all := full(t)
	for name, how := range encapsulations() {
		if !Reads(how.link) {
			t.Errorf("%s: link type %d is not read", name, how.link)
		}
		for _, e := range []ends{usual, usual6} {
			want := &recorder{tb: t}
			plain := New(Config{Handler: want})
			feed(t, plain, e, start, all)
			plain.Flush()
			for _, mtu := range []int{0, 800} {
				got := &recorder{tb: t}
				a := New(Config{Handler: got})
				at := start
				for i := range all {
					at = at.Add(time.Millisecond)
					b := serialize(t, how.wrap(e, &all[i])...)
					for _, b := range fragments(b, how.link, mtu) {
						a.Packet(capture.Packet{Time: at, Data: b, Length: len(b), LinkType: how.link})
						clear(b) // it is the source's
					}
				}
				a.Flush()
				if diff := cmp.Diff(want.lines, got.lines); diff != "" {
					t.Errorf("%s, from %v, fragments of %d (-Ethernet +got):\n%s", name, e.client, mtu, diff)
				}
				checkEmpty(t, a)
				if !got.conns[0].Settled || mtu > 0 && a.stats.Pieces == 0 {
					t.Errorf("%s, from %v, fragments of %d: settled %t, %d pieces", name, e.client, mtu, got.conns[0].Settled, a.stats.Pieces)
				}
			}
		}
	}
}

// fragments cuts the outermost IP packet of a frame, the last piece first. mtu 0: it stays whole.
func fragments(b []byte, link layers.LinkType, mtu int) [][]byte {
	head := map[layers.LinkType]int{
		layers.LinkTypeEthernet: 14, layers.LinkTypeLinuxSLL: 16, layers.LinkTypeLinuxSLL2: 20, layers.LinkTypeNull: 4, layers.LinkTypeLoop: 4,
	}[link]
	for (link == layers.LinkTypeEthernet || link == layers.LinkTypeLinuxSLL) && b[head-2]&0xf0 == 0x80 && b[head-1] != 0xdd {
		head += 4 // a tag
	}
	ip := 20
	if b[head]>>4 == 6 {
		ip = 40
	}
	if mtu == 0 || len(b)-head-ip <= mtu {
		return [][]byte{b}
	}
	var all [][]byte
	for payload, at := b[head+ip:], 0; at < len(payload); at += mtu {
		part := payload[at:min(at+mtu, len(payload))]
		more := byte(0)
		if at+len(part) < len(payload) {
			more = 1
		}
		f := slices.Clone(b[:head+ip])
		if ip == 20 {
			binary.BigEndian.PutUint16(f[head+2:], uint16(ip+len(part)))
			binary.BigEndian.PutUint16(f[head+4:], uint16(len(payload))) // an identification for each
			binary.BigEndian.PutUint16(f[head+6:], uint16(more)<<13|uint16(at/8))
		} else {
			f = append(f, f[head+6], 0, byte(at>>8), byte(at)|more, 0, 0, byte(len(payload)>>8), byte(len(payload)))
			binary.BigEndian.PutUint16(f[head+4:], uint16(8+len(part)))
			f[head+6] = byte(layers.IPProtocolIPv6Fragment)
		}
		all = append(all, append(f, part...))
	}
	slices.Reverse(all)
	return all
}

// TestOffloaded: frames larger than an IP packet may be, as a kernel has them of what the card is to cut up, or has put
// together; their IP headers leave the length open.
func TestOffloaded(t *testing.T) {
	all := full(t)
	big := all[answer]
	for _, e := range []ends{usual, usual6} {
		for _, size := range []int{60_000, 100_000} {
			padded := slices.Clone(all)
			padded[answer].data = append(slices.Clone(big.data), make([]byte, size-len(big.data))...)
			rec := &recorder{tb: t}
			a := New(Config{Handler: rec})
			at := start
			for i := range padded {
				at = at.Add(time.Millisecond)
				s := padded[i]
				s.data = s.data[:min(len(s.data), 40_000)] // what fits the length that is written
				b := e.frame(t, &s)
				if i == answer {
					b = append(b, padded[i].data[len(s.data):]...)
					if e.client.Addr().Is4() {
						binary.BigEndian.PutUint16(b[14+2:], 0)
					} else {
						binary.BigEndian.PutUint16(b[14+4:], 0)
					}
				}
				a.Packet(capture.Packet{Time: at, Data: b, Length: len(b), LinkType: layers.LinkTypeEthernet})
			}
			a.Flush()
			if !rec.conns[0].Settled || a.stats.Other > 0 {
				t.Errorf("from %v, %d bytes: %s", e.client, size, rec.text())
			}
		}
	}
}

// TestNotRead: what is not read is counted, and nothing is told of it.
func TestNotRead(t *testing.T) {
	r := &recorder{tb: t}
	a := New(Config{Ports: []uint16{8443}, Handler: r})
	frame := usual.frame(t, &full(t)[0])
	for _, p := range []capture.Packet{
		{Data: frame, LinkType: layers.LinkTypeEthernet},
		{Data: frame, LinkType: layers.LinkTypePPP},
		{Data: frame[:30], LinkType: layers.LinkTypeEthernet},
		{Data: frame[:3], LinkType: layers.LinkTypeNull},
		{Data: []byte{}, LinkType: layers.LinkTypeRaw},
		{Data: make([]byte, 100), LinkType: layers.LinkTypeEthernet},
		{Data: nil},
	} {
		p.Time, p.Length = start, len(frame)
		a.Packet(p)
	}
	a.Flush()
	want := Stats{Packets: 6, Bytes: uint64(len(frame)*2 + 30 + 3 + 100), Cut: 3, Link: 1, Other: 4, Foreign: 1}
	if diff := cmp.Diff(want, a.Stats()); diff != "" || len(r.lines) > 0 {
		t.Errorf("(-want +got):\n%s%s", diff, r.text())
	}
}

// TestPiecesInDoubt: what a client sends in fragments may be whole to its server and not to us. Then its other copy is not
// taken for what the server has read.
func TestPiecesInDoubt(t *testing.T) {
	all := full(t)
	bad := spoilt(all[second])
	last := func(b [][]byte) [][]byte { return b[:1] } // the pieces come last first
	for name, tt := range map[string]struct {
		keep     func([][]byte) [][]byte
		wait     time.Duration // before the first piece, which completes the packet
		cut      int
		datagram bool
		end      End
	}{
		"all pieces":              {func(b [][]byte) [][]byte { return b }, 0, 0, false, EndConflict},
		"some pieces":             {last, 0, 0, false, EndGap},
		"of something else":       {last, 0, 0, true, EndFIN},
		"a piece that is cut":     {func(b [][]byte) [][]byte { return b }, 0, 5, false, EndGap},
		"all, when given up here": {func(b [][]byte) [][]byte { return b }, 31 * time.Second, 0, false, EndGap},
	} {
		for _, e := range []ends{usual, usual6} {
			if tt.datagram && e == usual6 {
				continue // all count
			}
			r := &recorder{tb: t}
			a := New(Config{Handler: r})
			at := feed(t, a, e, start, all[:second])
			parts := tt.keep(fragments(e.frame(t, &bad), layers.LinkTypeEthernet, 400))
			for i, b := range parts {
				if tt.datagram {
					b[14+9] = byte(layers.IPProtocolUDP)
				}
				if i == len(parts)-1 {
					at = at.Add(tt.wait)
				}
				a.Packet(capture.Packet{Time: at, Data: b[:len(b)-tt.cut], Length: len(b), LinkType: layers.LinkTypeEthernet})
			}
			feed(t, a, e, at, all[second:])
			a.Flush()
			if a.stats.Ends[tt.end] != 1 || r.conns[0].Settled != (tt.end == EndFIN) {
				t.Errorf("%s, from %v: not %v:\n%s", name, e.client, tt.end, r.text())
			}
		}
	}
}

package integration

import (
	wire "encoding/binary"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"homing/bench/farm"
)

// wrapping is how a mirror or a recorder hands frames over.
type wrapping struct {
	name string
	link layers.LinkType
	wrap func(ethernet []byte) []byte
}

const macs = 12 // bytes of two addresses, before the type

// carried puts IPv4 over Ethernet before a payload.
func carried(protocol byte, payload []byte) []byte {
	b := append(make([]byte, macs), 0x08, 0x00, 0x45, 0)
	b = wire.BigEndian.AppendUint16(b, uint16(20+len(payload)))
	b = append(b, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2)
	return append(b, payload...)
}

func udp(port uint16, payload []byte) []byte {
	b := wire.BigEndian.AppendUint16([]byte{0xc0, 0x00}, port)
	b = wire.BigEndian.AppendUint16(b, uint16(8+len(payload)))
	return append(append(b, 0, 0), payload...)
}

func wrappings() []wrapping {
	tagged := func(tags ...byte) func([]byte) []byte {
		return func(e []byte) []byte { return slices.Concat(e[:macs], tags, e[macs:]) }
	}
	before := func(header ...byte) func([]byte) []byte {
		return func(e []byte) []byte { return slices.Concat(header, e[macs+2:]) }
	}
	tunnel := func(protocol byte, header ...byte) func([]byte) []byte {
		return func(e []byte) []byte { return carried(protocol, slices.Concat(header, e)) }
	}
	const gre = 47
	return []wrapping{
		{"VLAN", layers.LinkTypeEthernet, tagged(0x81, 0x00, 0x00, 0x2a)},
		{"QinQ", layers.LinkTypeEthernet, tagged(0x88, 0xa8, 0x00, 0x07, 0x81, 0x00, 0x00, 0x2a)},
		{"raw IP", layers.LinkTypeRaw, before()},
		{"loopback of BSD", layers.LinkTypeNull, before(2, 0, 0, 0)},
		{"SLL", layers.LinkTypeLinuxSLL, before(0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x00)},
		{"SLL2", layers.LinkTypeLinuxSLL2, before(0x08, 0x00, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0)},
		{"VXLAN", layers.LinkTypeEthernet, func(e []byte) []byte {
			return carried(17, udp(4789, slices.Concat([]byte{8, 0, 0, 0, 0, 0, 42, 0}, e)))
		}},
		{"GRE with Ethernet", layers.LinkTypeEthernet, tunnel(gre, 0, 0, 0x65, 0x58)},
		{"GRE with IP and a key", layers.LinkTypeEthernet, func(e []byte) []byte {
			return carried(gre, slices.Concat([]byte{0x20, 0, 0x08, 0x00, 0, 0, 0, 7}, e[macs+2:]))
		}},
		{"ERSPAN I", layers.LinkTypeEthernet, tunnel(gre, 0, 0, 0x88, 0xbe)},
		{"ERSPAN II", layers.LinkTypeEthernet, tunnel(gre, 0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0x2a, 0, 7, 0, 0, 0, 1)},
		{"ERSPAN III", layers.LinkTypeEthernet, tunnel(gre, 0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 0x2a, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0)},
	}
}

// However a mirror hands the frames over, the same is seen in them, by tshark too.
func TestIntegrationObserveTunnels(t *testing.T) {
	s := newObservedSite(t, farm.NginxConfig{})
	s.roundRobin(t)
	recorder := s.record(t, "back.pcap", mirrorBack)
	p := newItinerary(t, s, 2)
	p.run(t, 100)
	truth := p.truth(t)
	whole := frames(t, recorder.end(t))
	for _, w := range wrappings() {
		t.Run(w.name, func(t *testing.T) {
			list := make([]frame, len(whole))
			for i, f := range whole {
				data := w.wrap(f.data)
				list[i] = frame{f.at, data, len(data), w.link}
			}
			file := writeFrames(t, list)
			testimonies, stats := testify(t, file, 443)
			compareTruth(t, truth, testimonies)
			compareShark(t, shark(t, file), testimonies)
			if t.Failed() {
				t.Logf("%+v", stats)
			}
		})
	}
}

package flow

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"homing/cmd/homing/internal/observe/capture"
	"homing/tlsparse"
)

// silent is a Handler that does nothing.
type silent struct{}

func (silent) Open(*Conn)                                     {}
func (silent) Hello(*Conn, *tlsparse.Hello, int)              {}
func (silent) NotTLS(*Conn, tlsparse.Status)                  {}
func (silent) Answer(*Conn, *tlsparse.Server, tlsparse.Event) {}
func (silent) Replied(*Conn)                                  {}
func (silent) Close(*Conn, End)                               {}

// BenchmarkConns reads conns of a TLS 1.3 handshake, with so much of bulk behind it; MB/s are those of the capture.
func BenchmarkConns(b *testing.B) {
	for _, bb := range []struct {
		name      string
		bulk, mss int
	}{
		{"handshakes", 0, 1460},
		{"100 kB in segments of 1460", 100_000, 1460},
		{"1 MB in segments of 1460", 1_000_000, 1460},
		{"1 MB in frames of 60 kB", 1_000_000, 60_000},
	} {
		b.Run(bb.name, func(b *testing.B) {
			talk := append([]said(nil), recorded(b)["TLS 1.3, full"]...)
			if bb.bulk > 0 {
				talk = append(talk, said{server, make([]byte, bb.bulk)})
			}
			var frames [][]byte
			size := 0
			for _, s := range segments(talk, bb.mss) {
				frames = append(frames, usual.frame(b, &s))
				size += len(frames[len(frames)-1])
				if len(s.data) > 0 && s.from == server && bb.bulk > 0 {
					ack := seen{from: client, seq: s.ack, ack: s.seq + uint32(len(s.data))}
					frames = append(frames, usual.frame(b, &ack))
					size += len(frames[len(frames)-1])
				}
			}
			a := New(Config{Ports: []uint16{443}, Handler: silent{}})
			at := start
			b.SetBytes(int64(size))
			b.ReportAllocs()
			n := uint32(0)
			for b.Loop() {
				n++
				for _, f := range frames {
					if f[14+12] == 192 { // the client's address, which is the source's or the destination's, is another each time
						binary.BigEndian.PutUint32(f[14+12:], 192<<24|n&0xffffff)
					} else {
						binary.BigEndian.PutUint32(f[14+16:], 192<<24|n&0xffffff)
					}
					at = at.Add(10 * time.Microsecond)
					a.Packet(capture.Packet{Time: at, Data: f, Length: len(f), LinkType: layers.LinkTypeEthernet})
				}
			}
			b.ReportMetric(float64(b.N)*float64(len(frames))/b.Elapsed().Seconds(), "packets/s")
			if s := a.Stats(); s.Unsettled[EndFIN] > 0 || s.Ends[EndFIN] == 0 {
				b.Fatalf("%+v", s)
			}
		})
	}
}

package flow

import (
	"encoding/binary"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/reassembly"
)

// How the library's reassembly is used. It orders the data of a handshake, and that alone: SYN, FIN and RST are looked at
// here, and it is given plain segments that are neither behind what it has passed on nor contradict it (see half). It holds
// what is ahead without end, in pages of 2 kB, and lets go of a conn only by its FINs or by a walk over all. So what it may
// hold is bounded here before it has it, and a conn that is settled is ended in it by two RST that nobody has sent.

// newLibrary makes the library's assembler, with a pool of its own.
func (a *Assembler) newLibrary() *reassembly.Assembler {
	return reassembly.NewAssembler(reassembly.NewStreamPool(factory{a}))
}

// queue gives the library a part of a stream.
func (a *Assembler) queue(c *Conn, from side, at int, b []byte) {
	a.of, a.from, a.drop = c, from, false
	a.seg = a.dec.tcp // for its ports
	a.seg.SYN, a.seg.FIN, a.seg.RST, a.seg.ACK = false, false, false, false
	a.seg.Seq, a.seg.Payload = c.hs.halves[from].begin+uint32(at), b
	c.hs.queued = true
	src, dst := c.pair.low, c.pair.high
	if from != c.low {
		src, dst = dst, src
	}
	a.lib.AssembleWithContext(networkFlow(src, dst), &a.seg, present{a})
}

// dequeue has the library forget a conn.
func (a *Assembler) dequeue(c *Conn) {
	for i, ends := range [2][2]endpoint{{c.pair.low, c.pair.high}, {c.pair.high, c.pair.low}} {
		a.of, a.from, a.drop = c, c.low, true
		if i > 0 {
			a.from = c.low.other()
		}
		var header [20]byte
		binary.BigEndian.PutUint16(header[0:], ends[0].port)
		binary.BigEndian.PutUint16(header[2:], ends[1].port)
		header[12] = 5 << 4 // words of header
		var rst layers.TCP
		if rst.DecodeFromBytes(header[:], gopacket.NilDecodeFeedback) != nil {
			continue // it is well-formed
		}
		rst.RST = true
		a.lib.AssembleWithContext(networkFlow(ends[0], ends[1]), &rst, present{a})
	}
	a.of = nil
}

// networkFlow is what the library knows a pair of addresses by, as the table does: one conn here is one there.
func networkFlow(from, to endpoint) gopacket.Flow {
	return gopacket.NewFlow(layers.EndpointIPv6, from.addr[:], to.addr[:])
}

// present is when the segment was captured that is being taken.
type present struct{ a *Assembler }

// GetCaptureInfo is the library's question.
func (p present) GetCaptureInfo() gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: p.a.now}
}

// factory makes the library's stream of the conn whose segment it has just been given.
type factory struct{ a *Assembler }

// New is called for the first segment.
func (f factory) New(_, _ gopacket.Flow, _ *layers.TCP, _ reassembly.AssemblerContext) reassembly.Stream {
	return f
}

// Accept says where a stream begins; or that it ends here, where the library has come to.
func (f factory) Accept(
	tcp *layers.TCP, _ gopacket.CaptureInfo, _ reassembly.TCPFlowDirection, next reassembly.Sequence, start *bool,
	_ reassembly.AssemblerContext,
) bool {
	switch a := f.a; {
	case !a.drop:
		*start = next < 0 && tcp.Seq == a.of.hs.halves[a.from].begin
	case next < 0: // before all that waits: what is behind the end it would be given with it, and forget the end
		*start = true
		tcp.Seq = a.of.hs.halves[a.from].begin
	default:
		tcp.Seq = uint32(next)
	}
	return true
}

// ReassembledSG takes what is in order.
func (f factory) ReassembledSG(sg reassembly.ScatterGather, _ reassembly.AssemblerContext) {
	a := f.a
	if a.drop {
		return
	}
	h := &a.of.hs.halves[a.from]
	if _, _, _, skipped := sg.Info(); skipped > 0 {
		h.lost = true // it gives up waiting: it is not told to
		return
	}
	n, _ := sg.Lengths()
	h.stream = append(h.stream, sg.Fetch(n)...)
}

// ReassemblyComplete lets the library forget the conn.
func (f factory) ReassemblyComplete(reassembly.AssemblerContext) bool { return true }

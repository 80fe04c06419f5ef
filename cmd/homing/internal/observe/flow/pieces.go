package flow

import (
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/ip4defrag"
	"github.com/gopacket/gopacket/ip6defrag"
	"github.com/gopacket/gopacket/layers"
)

const (
	// pieceAge is how long fragments wait for the others of their packet, as with Linux.
	pieceAge = 30 * time.Second
	// pieceCost is what the library keeps with each, in bytes, about.
	pieceCost = 512
	// doubtAge is how long it counts that fragments have not become a packet: longer than a handshake takes.
	doubtAge   = 10 * time.Minute
	doubtSlots = 1 << 12
)

// pieces are the IP fragments of packets that are not whole. What contradicts itself is dropped by the library, as Linux
// drops it.
//
// A server may make a packet of fragments of which the library makes none: it began to wait later, or has room for more. What
// comes at the same place of the stream once more would be all that we see, and no more than a copy to the server. So it is
// counted between which addresses fragments have not become packets, and no answer between these is told.
type pieces struct {
	four  *ip4defrag.IPv4Defragmenter
	six   *ip6defrag.IPv6Defragmenter
	held  int // bytes of fragments
	limit int
	since time.Time // nothing that is held is older

	waiting [doubtSlots]pending // by a hash of addresses: two that share one are in doubt together
}

// pending is fragments, between some addresses, of packets that were not whole.
type pending struct {
	bytes int // of IP payload
	cost  int // of what is held for them; 0 when they were given up
	at    time.Time
}

// forget gives all of them up. They stay in doubt.
func (p *pieces) forget() {
	p.four, p.six, p.held = ip4defrag.NewIPv4Defragmenter(), ip6defrag.NewIPv6Defragmenter(), 0
	for i := range p.waiting {
		p.waiting[i].cost = 0
	}
}

// between finds what waits between two addresses, of packets of TCP, or of another protocol. The header behind an IPv6
// fragment may be any: all of them count as TCP.
func (p *pieces) between(net gopacket.Flow, of layers.IPProtocol) *pending {
	src, dst := net.Endpoints()
	hash := networkFlow(endpointOf(src, 0), endpointOf(dst, 0)).FastHash()
	return &p.waiting[(hash^uint64(of)*0x9e3779b97f4a7c15)>>32%doubtSlots]
}

// doubtful says whether a server may have read what we have not.
func (p *pieces) doubtful(c *Conn, now time.Time) bool {
	w := p.between(networkFlow(c.pair.low, c.pair.high), layers.IPProtocolTCP)
	return w.bytes > 0 && now.Sub(w.at) < doubtAge
}

// join takes the fragment that d has come to, behind the layer typ, and returns what the packet has that is whole by it.
func (p *pieces) join(d *decoder, typ gopacket.LayerType, now time.Time) (next gopacket.LayerType, data []byte) {
	if age := now.Sub(p.since); p.held == 0 {
		p.since = now
	} else if age > pieceAge || age < -pieceAge || p.held > p.limit {
		// The library's clock for those of IPv6 is that of the wall, and neither tells how many bytes it drops: so all go at
		// once. Fragments of TCP are few.
		p.forget()
		p.since = now
	}
	w := p.between(d.net, layers.IPProtocolTCP)
	if typ == layers.LayerTypeIPv4 {
		w = p.between(d.net, d.ip4.Protocol)
	}
	if now.Sub(w.at) > doubtAge {
		p.held -= w.cost
		*w = pending{}
	}
	w.at = now
	if d.cut {
		w.bytes++
		return gopacket.LayerTypeZero, nil // the library would take what there is of it for all
	}
	var whole gopacket.DecodingLayer
	if typ == layers.LayerTypeIPv4 {
		whole = p.join4(d.ip4, w, now)
	} else {
		whole = p.join6(d.ip6, d.piece6, w)
	}
	if whole == nil {
		return gopacket.LayerTypeZero, nil
	}
	data = whole.LayerPayload()
	if w.bytes -= len(data); w.bytes <= 0 {
		p.held -= w.cost
		*w = pending{}
	}
	return whole.NextLayerType(), data
}

// count notes what is kept of a fragment.
func (p *pieces) count(w *pending, payload int) {
	w.bytes += payload
	w.cost += payload + pieceCost
	p.held += payload + pieceCost
}

func (p *pieces) join4(in layers.IPv4, w *pending, now time.Time) gopacket.DecodingLayer {
	p.count(w, len(in.Payload))
	own := append(append(append([]byte(nil), in.SrcIP...), in.DstIP...), in.Payload...)
	in.SrcIP, in.DstIP, in.Payload = own[:4:4], own[4:8:8], own[8:]
	in.Contents, in.Options, in.Padding = nil, nil, nil
	if whole, err := p.four.DefragIPv4WithTimestamp(&in, now); err == nil && whole != nil {
		return whole
	}
	return nil
}

func (p *pieces) join6(in layers.IPv6, piece layers.IPv6Fragment, w *pending) gopacket.DecodingLayer {
	p.count(w, len(piece.Payload))
	own := append(append(append([]byte(nil), in.SrcIP...), in.DstIP...), piece.Payload...)
	in.SrcIP, in.DstIP, piece.Payload = own[:16:16], own[16:32:32], own[32:]
	in.Contents, in.Payload, in.HopByHop = nil, nil, nil
	if whole := p.six.DefragIPv6(&in, &piece); whole != nil {
		return whole
	}
	return nil
}

package integration

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/observe/capture"
)

// frame is a captured packet.
type frame struct {
	at   time.Time
	data []byte
	size int // on the wire
	link layers.LinkType
}

// frames reads a capture.
func frames(t *testing.T, file string) (list []frame) {
	t.Helper()
	source, err := capture.Open(t.Context(), []string{file}, nil)
	testkit.Check(t, err)
	defer source.Close()
	for {
		p, err := source.Next()
		if errors.Is(err, io.EOF) {
			return list
		}
		testkit.Check(t, err)
		list = append(list, frame{p.Time, bytes.Clone(p.Data), p.Length, p.LinkType})
	}
}

// writeFrames writes a capture, and returns its name. All frames must be of one link type.
func writeFrames(t *testing.T, list []frame) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "frames.pcap")
	f, err := os.Create(file)
	testkit.Check(t, err)
	w := pcapgo.NewWriterNanos(f)
	testkit.Check(t, w.WriteFileHeader(256<<10, list[0].link))
	for _, p := range list {
		testkit.Check(t, w.WritePacket(gopacket.CaptureInfo{Timestamp: p.at, CaptureLength: len(p.data), Length: p.size}, p.data))
	}
	testkit.Check(t, f.Close())
	return file
}

// spoilt is a capture as a mirror that is at its limit makes it: each packet is missing with a probability, and some come late
// or twice. Times stay in order, as the recorder gives them.
func spoilt(random *rand.Rand, list []frame, lost, late, twice float64) []frame {
	type slot struct {
		frame
		behind int
	}
	var out []frame
	var waiting []slot
	put := func(p frame) {
		if len(out) > 0 && p.at.Before(out[len(out)-1].at) {
			p.at = out[len(out)-1].at
		}
		out = append(out, p)
	}
	for _, p := range list {
		if random.Float64() < lost {
			continue
		}
		if random.Float64() < late {
			waiting = append(waiting, slot{p, 1 + random.IntN(8)})
		} else {
			put(p)
		}
		if random.Float64() < twice {
			waiting = append(waiting, slot{p, 1 + random.IntN(8)})
		}
		left := waiting[:0]
		for _, s := range waiting {
			if s.behind--; s.behind <= 0 {
				put(s.frame)
			} else {
				left = append(left, s)
			}
		}
		waiting = left
	}
	for _, s := range waiting {
		put(s.frame)
	}
	return out
}

// cutFrames is the capture with a snap length.
func cutFrames(list []frame, snap int) []frame {
	out := make([]frame, len(list))
	for i, p := range list {
		p.data = p.data[:min(len(p.data), snap)]
		out[i] = p
	}
	return out
}

// decode takes a frame apart.
func decode(p frame) gopacket.Packet {
	if p.link == layers.LinkTypeIPv4 { // which the library names and does not know
		return gopacket.NewPacket(p.data, layers.LayerTypeIPv4, gopacket.Default)
	}
	return gopacket.NewPacket(p.data, p.link, gopacket.Default)
}

// greeted is the capture with a TCP handshake before the first segment of each conn that has none.
func greeted(t *testing.T, list []frame) []frame {
	t.Helper()
	known := map[gopacket.Flow]map[gopacket.Flow]bool{} // by address and port of who connects
	var out []frame
	for _, p := range list {
		packet := decode(p)
		tcp, ok := packet.TransportLayer().(*layers.TCP)
		if !ok {
			continue
		}
		hosts, ports := packet.NetworkLayer().NetworkFlow(), tcp.TransportFlow()
		if known[hosts] == nil {
			known[hosts] = map[gopacket.Flow]bool{}
		}
		if !known[hosts][ports] && !known[hosts.Reverse()][ports.Reverse()] && !tcp.SYN {
			// Time stays in order, whatever the handshake took.
			out = append(out, greeting(t, p, packet, false), greeting(t, p, packet, true))
		}
		known[hosts][ports] = true
		out = append(out, p)
	}
	return out
}

// greeting is the SYN before a conn's first segment, or the answer to it.
func greeting(t *testing.T, p frame, packet gopacket.Packet, answer bool) frame {
	t.Helper()
	var all []gopacket.SerializableLayer
	for _, l := range packet.Layers() {
		switch l := l.(type) {
		case *layers.Ethernet:
			again := *l
			all = append(all, &again)
		case *layers.IPv4:
			again := *l
			if answer {
				again.SrcIP, again.DstIP = l.DstIP, l.SrcIP
			}
			all = append(all, &again)
		case *layers.TCP:
			syn := &layers.TCP{SrcPort: l.SrcPort, DstPort: l.DstPort, Seq: l.Seq - 1, SYN: true, Window: 65535}
			if answer {
				syn = &layers.TCP{SrcPort: l.DstPort, DstPort: l.SrcPort, Seq: l.Ack - 1, Ack: l.Seq, SYN: true, ACK: true, Window: 65535}
			}
			all = append(all, syn)
		}
	}
	buffer := gopacket.NewSerializeBuffer()
	testkit.Check(t, gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true}, all...))
	return frame{p.at, bytes.Clone(buffer.Bytes()), len(buffer.Bytes()), p.link}
}

// conversation is a conn in which a client sends bytes, in pieces, and closes.
func conversation(t *testing.T, port uint16, sent []byte, piece int) (list []frame) {
	t.Helper()
	client, server := net.IPv4(192, 0, 2, 1).To4(), net.IPv4(192, 0, 2, 2).To4()
	at := time.Unix(1_700_000_000, 0).Add(time.Duration(port) * time.Millisecond)
	put := func(fromServer bool, tcp layers.TCP, data []byte) {
		ip := layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: client, DstIP: server}
		tcp.SrcPort, tcp.DstPort, tcp.Window = layers.TCPPort(port), 443, 65535
		if fromServer {
			ip.SrcIP, ip.DstIP, tcp.SrcPort, tcp.DstPort = server, client, 443, layers.TCPPort(port)
		}
		ether := layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: layers.EthernetTypeIPv4}
		buffer := gopacket.NewSerializeBuffer()
		testkit.Check(t, gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true}, &ether, &ip, &tcp, gopacket.Payload(data)))
		at = at.Add(time.Microsecond)
		list = append(list, frame{at, bytes.Clone(buffer.Bytes()), len(buffer.Bytes()), layers.LinkTypeEthernet})
	}
	put(false, layers.TCP{Seq: 99, SYN: true}, nil)
	put(true, layers.TCP{Seq: 499, Ack: 100, SYN: true, ACK: true}, nil)
	put(false, layers.TCP{Seq: 100, Ack: 500, ACK: true}, nil)
	seq := uint32(100)
	for data := range slices.Chunk(sent, piece) {
		put(false, layers.TCP{Seq: seq, Ack: 500, ACK: true, PSH: true}, data)
		seq += uint32(len(data))
		put(true, layers.TCP{Seq: 500, Ack: seq, ACK: true}, nil)
	}
	put(false, layers.TCP{Seq: seq, Ack: 500, ACK: true, FIN: true}, nil)
	put(true, layers.TCP{Seq: 500, Ack: seq + 1, ACK: true, FIN: true}, nil)
	put(false, layers.TCP{Seq: seq + 1, Ack: 501, ACK: true}, nil)
	return list
}

package flow

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// full is a TLS 1.3 handshake in segments: SYN, SYN-ACK, ACK, the hello in two, the server's flight, and so on.
func full(tb testing.TB) []seen {
	tb.Helper()
	talk := recorded(tb)["TLS 1.3, full"]
	all := segments(talk, 65000)
	hello := all[3]
	half := len(hello.data) / 2
	a, b := hello, hello
	a.data, b.data, b.seq = hello.data[:half], hello.data[half:], hello.seq+uint32(half)
	return slices.Concat(all[:3], []seen{a, b}, all[4:])
}

const (
	first  = 3 // the two parts of the hello, in full
	second = 4
	answer = 5
	reply  = 6 // the client's protected flight
)

// spoilt is a copy of a segment with another byte at its end.
func spoilt(s seen) seen {
	s.data = bytes.Clone(s.data)
	s.data[len(s.data)-1] ^= 1
	return s
}

func edit(all []seen, i int, f func(*seen)) []seen {
	all = slices.Clone(all)
	f(&all[i])
	return all
}

// TestEnds: what a conn ends by, and whether its handshake is judged before. A version of a byte that only one of server and
// observer takes is never told of.
func TestEnds(t *testing.T) {
	const (
		judged   = "hello answer"
		nothing  = ""
		unjudged = "hello"
	)
	all := full(t)
	without := func(drop ...int) []seen {
		var left []seen
		for i, s := range all {
			if !slices.Contains(drop, i) {
				left = append(left, s)
			}
		}
		return left
	}
	insert := func(at int, s ...seen) []seen { return slices.Insert(slices.Clone(all), at, s...) }
	rst := func(from side, seq uint32) seen {
		return seen{from: from, seq: seq, ack: [2]uint32{all[answer].seq, all[answer].ack}[from], rst: true}
	}
	cut := func(i, n int) seen { return edit(all, i, func(s *seen) { s.cut = n })[i] }
	inSYN := edit(all, 0, func(s *seen) { s.data = all[first].data })
	for _, tt := range []struct {
		name string
		all  []seen
		want string
		end  End
	}{
		{"all is there", all, judged, EndFIN},
		{"all comes twice at once, as on loopback", slices.Concat(all[:1], all[:1], all[1:2], all[1:2], all[2:], all[3:]), judged, EndFIN},
		{"it ends with the capture", all[:answer], unjudged, EndCapture},
		{"nothing comes for long", edit(all, answer, func(s *seen) { s.after = 2 * time.Minute }), unjudged, EndIdle},

		{"the SYN is missing", without(0), judged, EndFIN},
		{"the SYN-ACK is missing", without(1), unjudged, EndGap},
		{"SYN and SYN-ACK are missing", without(0, 1), nothing, EndUnseen},
		{"the hello's begin is missing", without(first), nothing, EndGap},
		{"the hello's end is missing", without(second), nothing, EndGap},
		{"the answer is missing", without(answer), unjudged, EndGap},
		{"the client's FIN alone comes", all[:answer+1], judged, EndCapture},

		{"the hello is cut by the snap length", edit(all, second, func(s *seen) { s.cut = 10 }), nothing, EndCut},
		{"the answer is cut in its ServerHello", edit(all, answer, func(s *seen) { s.cut = len(s.data) - 20 }), unjudged, EndCut},
		{"the answer is cut behind its ServerHello", edit(all, answer, func(s *seen) { s.cut = len(s.data) - 1500 }), judged, EndFIN},
		{"the hello is cut, and sent again, who knows how", insert(second, cut(second, 10)), nothing, EndCut},
		{"the hello is sent again, cut", insert(answer, cut(second, 10)), unjudged, EndCut},
		{"nothing of the hello is captured, then all", insert(first, cut(first, len(all[first].data))), nothing, EndCut},

		{"another begin of the hello before the true one", insert(first, spoilt(all[first])), nothing, EndConflict},
		{"another begin of the hello behind the true one", insert(second, spoilt(all[first])), nothing, EndConflict},
		{"another end of the hello ahead", slices.Concat(all[:first], []seen{spoilt(all[second])}, all[second:]), nothing, EndConflict},
		{"another end of the hello behind it, before the answer", insert(answer, spoilt(all[second])), unjudged, EndConflict},
		{"another hello when the handshake is dark", insert(reply, spoilt(all[first])), judged, EndFIN},
		{"another answer before the true one", insert(answer, func() seen {
			s := spoilt(all[answer])
			s.data = s.data[:40]
			s.data = spoilt(s).data
			return s
		}()), unjudged, EndConflict},
		{"urgent data", edit(all, second, func(s *seen) { s.urg = true }), nothing, EndConflict},
		{"a second SYN-ACK from elsewhere", insert(2, edit(all, 1, func(s *seen) { s.seq += 7 })[1]), nothing, EndConflict},

		{"a keepalive with a byte of its own", insert(second+1, seen{from: server, seq: all[1].seq + 1, ack: all[answer].ack},
			seen{from: client, seq: all[answer].ack - 1, ack: all[1].seq + 1, data: []byte{0xff}}), judged, EndFIN},
		{"a byte like a keepalive's that nobody has acknowledged", insert(second, seen{
			from: client, seq: all[second].seq - 1, ack: all[1].seq + 1, data: []byte{0xff ^ all[first].data[len(all[first].data)-1]},
		}), nothing, EndConflict},

		{"the client resets", insert(answer, rst(client, all[answer].ack)), unjudged, EndReset},
		{"the server resets", insert(answer, rst(server, all[answer].seq)), unjudged, EndReset},
		{"the server refuses", slices.Concat(all[:1], []seen{{from: server, ack: all[0].seq + 1, rst: true}}), nothing, EndReset},
		{"a reset that the server does not take", insert(answer, rst(client, all[answer].ack+100)), judged, EndFIN},
		{"a reset from behind", insert(answer, rst(client, all[answer].ack-1)), judged, EndFIN},
		{"a reset in the dark", insert(reply, rst(client, all[answer].ack)), judged, EndReset},

		{"the hello's begin in the SYN (TCP Fast Open)", slices.Concat(inSYN[:3], inSYN[second:]), judged, EndFIN},
		{"the same, and the server has it sent again", inSYN, judged, EndFIN},
		{"the same, and it is another", slices.Concat(inSYN[:3], []seen{spoilt(all[first])}, inSYN[second:]), nothing, EndConflict},
		{"the client's port is used anew", insert(answer, func() seen { s := all[0]; s.seq += 1 << 20; return s }()), unjudged, EndReplaced},
	} {
		r, a := observe(t, Config{Ports: []uint16{443}}, tt.all)
		var told []string
		for _, line := range r.lines {
			switch {
			case strings.HasPrefix(line, "hello 1:"):
				told = append(told, "hello")
			case strings.HasPrefix(line, "answer:"):
				told = append(told, "answer")
			}
		}
		if diff := cmp.Diff(tt.want, strings.Join(told, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%s", tt.name, diff, r.text())
		}
		if a.stats.Ends[tt.end] == 0 {
			t.Errorf("%s: not %v:\n%s", tt.name, tt.end, r.text())
		}
		if c := r.conns[0]; c.Settled != (tt.want == judged) {
			t.Errorf("%s: settled %t:\n%s", tt.name, c.Settled, r.text())
		}
	}
}

// TestRoundTrip: the round trip is measured where nothing of the TCP handshake came twice.
func TestRoundTrip(t *testing.T) {
	all := full(t)
	all[1].after, all[2].after = 20*time.Millisecond, 5*time.Millisecond
	for name, tt := range map[string]struct {
		all  []seen
		want time.Duration
	}{
		"once":             {all, 25 * time.Millisecond},
		"SYN twice":        {slices.Concat(all[:1], all), 0},
		"SYN-ACK twice":    {slices.Concat(all[:2], all[1:]), 0},
		"SYN not captured": {all[1:], 0},
	} {
		if r, _ := observe(t, Config{}, tt.all); r.conns[0].RTT != tt.want {
			t.Errorf("%s: %v, want %v", name, r.conns[0].RTT, tt.want)
		}
	}
}

// TestFlight: the server's first flight is what it sends before the client answers, with its certificate.
func TestFlight(t *testing.T) {
	for _, name := range []string{"TLS 1.2, full", "TLS 1.2, ticket", "TLS 1.3, full", "TLS 1.3, PSK", "TLS 1.3, retried"} {
		talk := recorded(t)[name]
		want := len(talk[1].data)
		if name == "TLS 1.3, retried" {
			want = changeCipherSpecLen + len(talk[3].data) // it comes behind the HelloRetryRequest
		}
		for _, mss := range []int{500, 1460, 30000} {
			if r, _ := observe(t, Config{}, segments(talk, mss)); r.conns[0].Flight != want {
				t.Errorf("%s, segments of %d: %d bytes, want %d", name, mss, r.conns[0].Flight, want)
			}
		}
	}
}

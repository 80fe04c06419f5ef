package tlsparse

import (
	"reflect"
	"testing"
)

// TestSizes bounds what a connection pays.
func TestSizes(t *testing.T) {
	if n := reflect.TypeFor[Server]().Size(); n > 400 {
		t.Errorf("Server has %d bytes", n)
	}
	if n := reflect.TypeFor[Client]().Size(); n > 48 {
		t.Errorf("Client has %d bytes", n)
	}
}

// TestAllocations asserts that neither side allocates, whatever comes.
func TestAllocations(t *testing.T) {
	var h Hello
	var s Server
	scratch := make([]byte, DefaultHelloLimit)
	for _, g := range loadGoldens(t) {
		streams := [][]byte{g.stream, cutEach(naiveFrame(g.stream, DefaultHelloLimit, g.second).message, 100), g.stream[:len(g.stream)/2]}
		for _, stream := range streams {
			if n := testing.AllocsPerRun(100, func() {
				c := Client{}
				c.ResetSecond(0)
				c.Next(stream[:len(stream)/2])
				if c.Next(stream) == Got {
					c.Parse(stream, scratch, &h)
					for name, rest := NextALPN(h.ALPN); name != nil; name, rest = NextALPN(rest) {
						_ = name
					}
					_ = h.offers("h2")
				}
			}); n != 0 {
				t.Errorf("%s: %v allocations", g.name, n)
			}
		}
	}
	for _, tt := range serverCases() {
		if n := testing.AllocsPerRun(10, func() {
			s.Reset()
			for b := tt.stream; ; {
				n, ev := s.Next(b[:min(len(b), 100)])
				b = b[n:]
				if ev == EventOpaque || ev == EventInvalid || ev == EventExcess || ev == EventNone && len(b) == 0 {
					return
				}
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", tt.name, n)
		}
	}
}

//go:build soak && linux

package capture_test

import (
	"encoding/binary"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/observe/capture"
)

// conversation is the packets of a TLS 1.3 conn with a full handshake, a request and its answer, by the bytes of their payload; the
// server's are negative.
var conversation = []int{0, 0, 0, 600, 0, -1448, -1448, -900, 0, 0, 80, 200, 0, -250, -250, -1448, 0, 0, 0, 0}

// TestSoakListen: 10,000 conns/s for ten seconds, on a wire beside the sender, and no packet is dropped.
func TestSoakListen(t *testing.T) {
	const (
		rate     = 10_000
		duration = 10 * time.Second
	)
	wire(t)
	send := sender(t, far)
	s, err := capture.Listen(t.Context(), capture.Options{Interface: near, Ports: []uint16{443}})
	testkit.Check(t, err)
	defer s.Close()
	var frames [][]byte
	for _, n := range conversation {
		segment, payload := tcp(443), strings.Repeat("x", max(n, -n))
		if n < 0 {
			segment.SrcPort, segment.DstPort = 443, 1024
		}
		frames = append(frames, frame(t, nil, capture.IP4(layers.IPProtocolTCP), segment, said(payload)))
	}
	type result struct {
		packets, bytes uint64
		cpu            time.Duration
	}
	heard, sent := make(chan result), make(chan struct{})
	go func() {
		runtime.LockOSThread() // whose time is asked for
		defer runtime.UnlockOSThread()
		var r result
		var before unix.Rusage
		_ = unix.Getrusage(unix.RUSAGE_THREAD, &before) // it is for the log
		defer func() {
			var after unix.Rusage
			_ = unix.Getrusage(unix.RUSAGE_THREAD, &after)
			r.cpu = cpu(after) - cpu(before)
			heard <- r
		}()
		for {
			p, err := s.Next()
			if err != nil {
				t.Error(err)
				return
			}
			if p.Data != nil {
				r.packets++
				r.bytes += uint64(len(p.Data))
				continue
			}
			select {
			case <-sent: // and it is quiet
				return
			default:
			}
		}
	}()
	start, conns := time.Now(), 0
	for since := time.Duration(0); since < duration; since = time.Since(start) {
		for ; conns < int(since.Seconds()*rate); conns++ {
			for _, f := range frames {
				binary.BigEndian.PutUint32(f[14+12:], uint32(conns)) // another client each
				send(f)
			}
		}
		time.Sleep(time.Millisecond)
	}
	took := time.Since(start)
	close(sent)
	r := <-heard
	st := s.Stats()
	t.Logf("%d conns, %.0f/s, %d packets, %.0f MB, %d dropped; the reader took %v of %v", conns, float64(conns)/took.Seconds(), r.packets,
		float64(r.bytes)/1e6, st.Dropped, r.cpu, took)
	if want := uint64(conns * len(frames)); st.Dropped != 0 || r.packets != want {
		t.Errorf("%d packets and %d dropped, %d sent", r.packets, st.Dropped, want)
	}
}

func cpu(u unix.Rusage) time.Duration { return time.Duration(u.Utime.Nano() + u.Stime.Nano()) }

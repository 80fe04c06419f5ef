//go:build linux

package balancer

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"homing/balancer/pool"
)

// childEnv names the part that a re-executed test process plays.
const childEnv = "HOMING_TEST_DESCRIPTORS"

// TestOutOfDescriptors: without descriptors a loop stops taking connections, does not spin, and goes on when there are
// some again. The limit is one of the whole process, so each case has one of its own.
func TestOutOfDescriptors(t *testing.T) {
	if part := os.Getenv(childEnv); part != "" {
		outOfDescriptors(t, part)
		return
	}
	for _, part := range []string{"accept", "connect", "pipe"} {
		t.Run(part, func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, self, "-test.run=^TestOutOfDescriptors$", "-test.v")
			cmd.Env = append(os.Environ(), childEnv+"="+part)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// leave lets the process open n more descriptors, and returns what undoes it.
func leave(t *testing.T, n int) (undo func()) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	// Descriptors are numbered without gaps when a spare one is the next.
	spare, err := syscall.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(spare)
	low := syscall.Rlimit{Cur: uint64(spare + n), Max: limit.Max}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			t.Fatal(err)
		}
	}
}

// queueServer is a backend whose connections wait in the kernel's queue, at no descriptor of this process.
func (r *rig) queueServer() *server {
	r.Helper()
	ln, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		r.Fatal(err)
	}
	s := &server{rig: r, ln: ln, addr: ln.Addr().String(), index: byte(len(r.servers))}
	r.servers = append(r.servers, s)
	return s
}

func outOfDescriptors(t *testing.T, part string) {
	const fit = 2
	clients := uint64(8)
	if part == "pipe" { // the ring may connect in any order; Linux 6.1's does so backwards
		clients = 1
	}
	r := newRig(t)
	defer r.queueServer().ln.Close() // resets what waits in its queue
	r.prepare(pool.Options{}, tlsOff)
	var all []*net.TCPConn
	for range clients {
		all = append(all, r.dial())
	}
	switch part {
	case "accept": // two descriptors a conn: the third is not taken
		undo := leave(t, 2*fit)
		begun := time.Now()
		r.run()
		r.await("out of descriptors", func() bool { return r.b.Stats().NoAccepts > 0 })
		r.restsFor(10 * acceptPause)
		s := r.b.Stats()
		took := time.Since(begun)
		undo()
		if s.Accepted != fit || s.NoAccepts > 3+uint64(took/acceptPause) {
			t.Errorf("%d conns accepted, %d failures in %v", s.Accepted, s.NoAccepts, took)
		}
		r.await("all are served", func() bool { return r.b.Stats().Open == clients })
	case "connect": // one is taken, and nobody can be asked for it
		undo := leave(t, 2*fit+1)
		r.run()
		r.await("the rest is reset", func() bool { return r.b.Stats().Accepted == clients })
		r.settle()
		s := r.b.Stats()
		undo()
		if s.Terminations[CauseResource][PhaseConnect] != clients-fit || s.Open != fit || s.ConnectFailures != 0 {
			t.Errorf("terminations %v, %d open, %d connect failures", s.Terminations, s.Open, s.ConnectFailures)
		}
		for i, c := range all {
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); isReset(err) != (i >= fit) {
				t.Errorf("client %d: %v", i, err)
			}
		}
	case "pipe": // a bulky flow is copied
		r.run()
		r.await("all are open", func() bool { return r.b.Stats().Connects == clients })
		b, err := r.servers[0].ln.AcceptTCP()
		if err != nil {
			t.Fatal(err)
		}
		r.track(b)
		defer leave(t, 1)()
		const size = 8 << 20
		go func() { _, _ = io.Copy(struct{ io.Writer }{all[0]}, noise(1, size)) }()
		n, sum, err := crc(io.LimitReader(b, size))
		if _, want, _ := crc(noise(1, size)); n != size || sum != want || err != nil {
			t.Errorf("%d bytes of %d, %v, or other ones", n, size, err)
		}
		if s := r.b.Stats(); s.Spliced != 0 {
			t.Errorf("%d bytes spliced without a pipe", s.Spliced)
		}
	}
}

//go:build linux

package balancer

import (
	"context"
	"log/slog"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// blockedLog never comes back.
type blockedLog struct{ slog.Handler }

func (blockedLog) Enabled(context.Context, slog.Level) bool  { return true }
func (blockedLog) Handle(context.Context, slog.Record) error { select {} }

// What a loop itself has to say is not said on its thread.
func TestLoopDoesNotLog(t *testing.T) {
	l := &loop{b: &Balancer{records: make(chan record, recordQueue)}, set: &settings{cfg: Config{Log: slog.New(blockedLog{})}}}
	const beyond = 3
	for range recordQueue + beyond {
		l.say(slog.LevelWarn, "out of something", slog.Int("n", 1))
	}
	if n := l.count.recordsDropped.Load(); n != beyond {
		t.Errorf("%d lines dropped, want %d", n, beyond)
	}
}

// A log that blocks stops no loop: records beyond the queue are dropped, and counted.
func TestLogBlocks(t *testing.T) {
	const beyond = 50
	r := newRig(t)
	r.serveByHand()
	unblock := make(chan struct{})
	var logged atomic.Uint64
	r.start(func(c *Config) {
		c.ConnLog = func(*ConnRecord) {
			<-unblock
			logged.Add(1)
		}
	})
	const conns = recordQueue + 1 + beyond // one is with the log
	for i := range conns {
		r.dial().Close()
		if i%500 == 0 {
			r.await("conns end", func() bool { return r.b.Stats().Hellos[HelloClosed] == uint64(i+1) })
		}
	}
	r.await("all conns have ended", func() bool { return r.b.Stats().Hellos[HelloClosed] == conns })
	r.settle()
	if n := r.b.Stats().RecordsDropped; n != beyond {
		t.Errorf("%d records dropped, want %d", n, beyond)
	}
	close(unblock)
	r.stop()
	if err := <-r.ran; err != nil {
		t.Error(err)
	}
	r.ran <- nil // for the rig
	if n := logged.Load(); n != recordQueue+1 {
		t.Errorf("%d records logged before Run returned, want %d", n, recordQueue+1)
	}
}

// A signal interrupts a loop's waiting, as a debugger or a stop and continue do, and nothing else.
func TestSignals(t *testing.T) {
	r := newRig(t)
	r.serveByHand()
	r.start(tlsOff)
	c := r.dial()
	b := r.arrival()
	for range 30 {
		r.talk(c, b, 1<<20, client([]byte("question")), backend([]byte("answer")))
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			if err != nil {
				t.Fatal(err)
			}
			// The runtime's own signal: every thread may get it at any time.
			if err := unix.Tgkill(os.Getpid(), tid, syscall.SIGURG); err != nil && err != syscall.ESRCH {
				t.Fatal(err)
			}
		}
	}
}

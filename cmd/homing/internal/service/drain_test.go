//go:build linux

package service

import (
	"context"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"homing/bench/testkit"
)

// TestDrain: the ways out of service, with a conn that is open: it may end, and what cuts it short is an error or a warning.
func TestDrain(t *testing.T) {
	for _, tt := range []struct {
		why      string
		timeouts string
		sig      os.Signal // nil: another process has taken over
		signals  int       // that come while the conn is open
		hangUp   bool      // the client does then
		want     string    // in the error, "" for none
		logged   []string
	}{
		{"it ends in time", "drain: 1h", syscall.SIGTERM, 0, true, "", []string{`msg=drain signal=terminated timeout_seconds=3600 open=1 delay_seconds=0`, "msg=drained\n"}},
		{"the time is over", "drain: 50ms", syscall.SIGTERM, 0, false, "", []string{"conns that were still open are cut", "cut=1"}},
		{"a second signal", "drain: 1h", syscall.SIGTERM, 1, false, "drain: ended at once by a second signal (interrupt), open conns were cut", nil},
		{"the delay is skipped", "drain: 1h, drain_delay: 1h", syscall.SIGINT, 1, true, "", []string{"delay_seconds=3600", "the rest of the delay is skipped\" signal=interrupt", "no new conns from now on", "msg=drained\n"}},
		{"a signal skips the delay, one more cuts", "drain: 1h, drain_delay: 1h", syscall.SIGINT, 2, false, "drain: ended at once by a second signal", nil},
		{"replaced, it ends in time", "drain: 1h, drain_delay: 1h", nil, 0, true, "", []string{`msg=drain because="another process took over" timeout_seconds=3600 open=1`, "msg=drained\n"}},
		{"replaced, a signal is for the whole service", "drain: 1h", nil, 1, true, "", []string{"drain goes on, another signal ends it at once\" signal=interrupt", "msg=drained\n"}},
		{"replaced, two signals", "drain: 1h", nil, 2, false, "drain: ended at once by a second signal", nil},
	} {
		var log testkit.Log
		backend := echoes(t)
		s := assembled(t, "listeners: [{address: '127.0.0.1:0', default: www}]\npools: [{name: www, backends: ['"+backend+"']}]\n"+
			"tables: {entries: 2000, client_entries: 2000}\nloops: 1\ntimeouts: {"+tt.timeouts+"}\n", &log)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.balancer.Run(ctx) }()
		conn, err := net.Dial("tcp", s.balancer.Addrs()[0].String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "hello\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		signals, drained := make(chan os.Signal), make(chan error, 1)
		go func() { drained <- s.drain(tt.sig, ending{signals: signals, kill: cancel, ended: ended}) }()
		testkit.Eventually(t, "the drain begins", func() bool { return strings.Contains(log.String(), "msg=drain ") })
		for range tt.signals {
			signals <- os.Interrupt // taken before the next
		}
		if tt.hangUp {
			conn.Close()
		}
		err = <-drained
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.why, err, tt.want)
		}
		for _, line := range tt.logged {
			if !strings.Contains(log.String(), line) {
				t.Errorf("%s: not logged: %s\n%s", tt.why, line, &log)
			}
		}
		conn.Close()
		cancel()
	}
}

// TestDrainToldTwice: timeout(1) signals its child and then its group, so that the second signal finds nothing to cut.
func TestDrainToldTwice(t *testing.T) {
	var log testkit.Log
	s := assembled(t, "listeners: [{address: '127.0.0.1:0', default: www}]\n"+
		"pools: [{name: www, backends: ['"+echoes(t)+"']}]\n"+
		"tables: {entries: 2000, client_entries: 2000}\nloops: 1\ntimeouts: {drain: 1h}\n", &log)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.balancer.Run(ctx) }()
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	if err := s.drain(syscall.SIGTERM, ending{signals: signals, kill: cancel, ended: ended}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "msg=drained\n") {
		t.Errorf("not drained:\n%s", &log)
	}
}

package health

import (
	"context"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestTally(t *testing.T) {
	tests := []struct {
		rise, fall int
		checks     string // o = succeeded, x = failed, D = somebody else marks it down, U = up
		want       string // the state after each check: u or d
		why        string
	}{
		{2, 3, "ooo", "uuu", "all is well"},
		{2, 3, "xxo", "uuu", "two failures are not three"},
		{2, 3, "xxoxxox", "uuuuuuu", "nor are they with a success between"},
		{2, 3, "xxx", "uud", "three in a row"},
		{2, 3, "xxxoxo", "uudddd", "it takes two successes in a row to come back"},
		{2, 3, "xxxoxoo", "uudddd" + "u", "and here they are"},
		{2, 3, "xxxooxxx", "uudd" + "uuud", "down, up and down"},
		{1, 1, "xox", "dud", "rise and fall of one follow every check"},
		{2, 3, "oDoo", "uddu", "a passive mark-down takes rise successes"},
		{2, 3, "oDoxoo", "udddd" + "u", "in a row"},
		{2, 3, "xxDxoo", "uuddd" + "u", "failures of before do not count while down"},
		{2, 3, "xxxoUxx", "uudduuu", "an operator's mark starts the count again"},
	}
	for _, tt := range tests {
		count := tally{rise: tt.rise, fall: tt.fall}
		up, got := true, ""
		for _, event := range tt.checks {
			switch event {
			case 'D', 'U':
				up = event == 'U'
			default:
				if count.add(up, event == 'o') {
					up = !up
				}
			}
			got += map[bool]string{true: "u", false: "d"}[up]
		}
		if got != tt.want {
			t.Errorf("%s: %q gives %q, want %q", tt.why, tt.checks, got, tt.want)
		}
	}
}

// dialed wraps an errno as net.Dialer does.
func dialed(errno syscall.Errno) error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", errno)}
}

func TestCause(t *testing.T) {
	tests := []struct {
		err      error
		want     string
		shortage bool
		why      string
	}{
		{dialed(syscall.ECONNREFUSED), "connection refused", false, "nobody listens"},
		{dialed(syscall.EHOSTUNREACH), "no route to host", false, "the host is off"},
		{dialed(syscall.ENETUNREACH), "network is unreachable", false, "its network is"},
		{dialed(syscall.ECONNRESET), "connection reset by peer", false, "a reset"},
		{dialed(syscall.ETIMEDOUT), "timeout", false, "the kernel gave up"},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, "timeout", false, "the dialer gave up"},
		{fmt.Errorf("check: %w", context.DeadlineExceeded), "timeout", false, "the context ended"},
		{dialed(syscall.EMFILE), "too many open files", true, "no descriptor is left"},
		{dialed(syscall.ENFILE), "too many open files in system", true, "nor in the system"},
		{dialed(syscall.EADDRNOTAVAIL), "cannot assign requested address", true, "no local port is free"},
		{dialed(syscall.ENOMEM), "cannot allocate memory", true, "no memory"},
		{dialed(syscall.ENOBUFS), "no buffer space available", true, "no buffers"},
		{dialed(syscall.EPERM), "operation not permitted", false, "a policy for its address"},
		{dialed(syscall.EACCES), "permission denied", false, "a route to it that is prohibited"},
		{dialed(syscall.EINVAL), "invalid argument", false, "a blackhole"},
		{&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("socket", syscall.EACCES)}, "permission denied", true, "no socket for this process"},
	}
	for _, tt := range tests {
		if got := cause(tt.err); got != tt.want || shortage(tt.err) != tt.shortage {
			t.Errorf("%s: cause(%v) = %q, want %q; shortage = %v", tt.why, tt.err, got, tt.want, shortage(tt.err))
		}
	}
	if shortage(nil) {
		t.Error("a success is a shortage")
	}
}

func TestSpread(t *testing.T) {
	tests := []struct {
		at   float64
		want time.Duration
	}{{0, 1800 * time.Millisecond}, {0.5, 2 * time.Second}, {1, 2200 * time.Millisecond}}
	for _, tt := range tests {
		if got := spread(2*time.Second, tt.at); got != tt.want {
			t.Errorf("spread(2s, %v) = %v, want %v", tt.at, got, tt.want)
		}
	}
}

func TestConfig(t *testing.T) {
	tests := []struct {
		cfg Config
		ok  bool
		why string
	}{
		{Config{}, true, "everything has a default"},
		{Config{Interval: 10 * time.Millisecond, Timeout: time.Minute, Rise: 1, Fall: 1}, true, "the bounds"},
		{Config{Interval: time.Millisecond}, false, "a flood of checks"},
		{Config{Interval: -time.Second}, false, "a negative interval"},
		{Config{Timeout: -time.Second}, false, "a negative timeout"},
		{Config{Rise: -1}, false, "a negative rise"},
		{Config{Fall: -1}, false, "a negative fall"},
	}
	for _, tt := range tests {
		c, err := New(nil, tt.cfg)
		if (err == nil) != tt.ok {
			t.Errorf("%s: New = %v", tt.why, err)
		}
		if tt.ok && (c.cfg.Interval == 0 || c.cfg.Timeout == 0 || c.cfg.Rise == 0 || c.cfg.Fall == 0 || c.cfg.Log == nil) {
			t.Errorf("%s: a default is missing: %+v", tt.why, c.cfg)
		}
	}
}

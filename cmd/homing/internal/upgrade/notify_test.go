//go:build linux

package upgrade

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"homing/bench/testkit"
)

// systemd is the other end of NOTIFY_SOCKET.
func systemd(t *testing.T) func() string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	testkit.Check(t, err)
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return func() string {
		t.Helper()
		testkit.Check(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
		buf := make([]byte, 4096)
		n, err := conn.Read(buf)
		testkit.Check(t, err)
		return string(buf[:n])
	}
}

// Whoever does not read what he is told keeps nobody waiting, and it is said.
func TestNotifyUnread(t *testing.T) {
	systemd(t)
	var said testkit.Log
	n := NewNotifier(said.Logger())
	testkit.Within(t, 20*time.Second, "the queue is full", func() bool {
		n.Status("x")
		return said.Lines("systemd cannot be told") > 0
	})
	n.Stopping("draining", time.Second) // a hang, if it waited
}

func TestNotify(t *testing.T) {
	told := systemd(t)
	n := NewNotifier(slog.New(slog.DiscardHandler))
	for _, tt := range []struct {
		tell func()
		want string
	}{
		{func() { n.Ready("serving") }, "READY=1\nSTATUS=serving"},
		{func() { n.Replaced(4711, "draining") }, "MAINPID=4711\nREADY=1\nSTATUS=draining"},
		{func() { n.Stopping("draining\n9 conns", 90*time.Second) }, "STOPPING=1\nSTATUS=draining 9 conns\nEXTEND_TIMEOUT_USEC=90000000"},
		{func() { n.Extend(time.Minute) }, "EXTEND_TIMEOUT_USEC=60000000"},
		{func() { n.Status("x") }, "STATUS=x"},
	} {
		tt.tell()
		if got := told(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	// Since the boot, by the clock that systemd compares with.
	n.Reloading("reading")
	lines := strings.Split(told(), "\n")
	if len(lines) != 3 || lines[0] != "RELOADING=1" || lines[2] != "STATUS=reading" {
		t.Fatalf("%q", lines)
	}
	usec, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "MONOTONIC_USEC="), 10, 64)
	testkit.Check(t, err)
	uptime, err := os.ReadFile("/proc/uptime")
	testkit.Check(t, err)
	var up float64
	_, err = fmt.Sscan(string(uptime), &up)
	testkit.Check(t, err)
	if d := up - float64(usec)/1e6; d < -1 || d > 60 {
		t.Errorf("%d us, the machine is up for %v s", usec, up)
	}
}

// Without systemd nothing is said; with a socket that is gone the log is told.
func TestNotifyNobody(t *testing.T) {
	var log bytes.Buffer
	n := NewNotifier(slog.New(slog.NewTextHandler(&log, nil)))
	t.Setenv("NOTIFY_SOCKET", "")
	n.Ready("serving")
	if log.Len() > 0 {
		t.Errorf("said: %s", &log)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	n.Ready("serving")
	if !strings.Contains(log.String(), "READY=1") {
		t.Errorf("said: %s", &log)
	}
}

// The watchdog is fed while loops answer, and not while one does not, be it that it says so or that it hangs.
func TestWatch(t *testing.T) {
	for why, stuck := range map[string]func(context.Context) error{
		"it fails": func(context.Context) error { return errors.New("stuck") },
		"it hangs": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		told := systemd(t)
		var asked atomic.Int64
		var dead atomic.Bool
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			NewNotifier(slog.New(slog.DiscardHandler)).Watch(ctx, 10*time.Millisecond, func(ctx context.Context) error {
				asked.Add(1)
				if dead.Load() {
					return stuck(ctx)
				}
				return nil
			})
		}()
		for range 3 {
			if got := told(); got != "WATCHDOG=1" {
				t.Errorf("%q", got)
			}
		}
		dead.Store(true)
		n := asked.Load()
		wait(t, "it is asked again and again", func() bool { return asked.Load() >= n+5 })
		cancel()
		<-done
		// What was said before it died, and one that was on its way, is all there is.
		NewNotifier(slog.New(slog.DiscardHandler)).Status("end")
		fed := 0
		for told() != "STATUS=end" {
			fed++
		}
		if most := int(n) - 3 + 1; fed > most {
			t.Errorf("%s: fed %d times behind its end, at most %d", why, fed, most)
		}
	}
}

func TestWatchdogInterval(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	for _, tt := range []struct {
		usec, pid string
		want      time.Duration
		says      bool
	}{
		{"", "", 0, false},
		{"2000000", "", 2 * time.Second, false},
		{"2000000", fmt.Sprint(os.Getpid()), 2 * time.Second, false},
		{"2000000", "1", 0, false},
		{"never", "", 0, true},
		{"-1", "", 0, true},
	} {
		t.Setenv("WATCHDOG_USEC", tt.usec)
		t.Setenv("WATCHDOG_PID", tt.pid)
		log.Reset()
		if got := Watchdog(logger); got != tt.want || (log.Len() > 0) != tt.says {
			t.Errorf("%+v: %v, said %s", tt, got, &log)
		}
	}
	// An heir is another process, and the watchdog is for it then.
	env := environment([]string{"WATCHDOG_PID=7", "WATCHDOG_USEC=5", "LISTEN_FDS=1", "LISTEN_PID=7", "LISTEN_FDNAMES=a", "NOTIFY_SOCKET=@x", "HOMING_HEIR=9"})
	if got, want := strings.Join(env, " "), "WATCHDOG_USEC=5 NOTIFY_SOCKET=@x HOMING_HEIR=3"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

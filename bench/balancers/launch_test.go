package balancers

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homing/bench/proc"
	"homing/bench/testkit"
)

// stub writes a program that pretends to be a balancer: a shell script.
func stub(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNewKitRefusesWhatIsNotTheProgram(t *testing.T) {
	odd := stub(t, "haproxy", "echo Usage: something else")
	_, err := NewKit(t.Context(), Paths{HAProxy: odd})
	if err == nil || !strings.Contains(err.Error(), `-v printed "Usage: something else": that is no haproxy`) {
		t.Errorf("a program that is no HAProxy: %v", err)
	}
	if _, err := NewKit(t.Context(), Paths{Homing: "/nonexistent"}); err == nil || !strings.HasPrefix(err.Error(), "--homing /nonexistent: no such program") {
		t.Errorf("a path that does not exist: %v", err)
	}
}

func TestNewKitReadsVersionAndEngines(t *testing.T) {
	path := stub(t, "homing", `case "$1" in version) echo homing v1.2.3 go1.26 linux/amd64;; run) echo '  --engine auto|epoll  how';; esac`)
	k, err := NewKit(t.Context(), Paths{Homing: path})
	if err != nil {
		t.Fatal(err)
	}
	if p := k.programs[FamilyHoming]; p.Version != "v1.2.3" || p.Path != path || len(k.engines) != 2 {
		t.Errorf("%+v with engines %q", p, k.engines)
	}
}

// A balancer that cannot start says why in its own last words, and leaves no directory behind.
func TestStartOfABrokenBalancer(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	path := stub(t, "homing", `[ "$1" = version ] && echo homing v1 || { echo 'homing: no kernel for it: get one' >&2; exit 2; }`)
	k, err := NewKit(t.Context(), Paths{Homing: path})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Select([]string{Homing})
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Start(t.Context(), b[0], Setup{Backends: []string{"127.0.0.1:1"}})
	if err == nil || err.Error() != "homing: homing ended before it was ready: homing: no kernel for it: get one" {
		t.Errorf("error %v", err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestDirectIsTheFirstBackend(t *testing.T) {
	r, err := (&Kit{}).Start(t.Context(), All()[0], Setup{Backends: []string{"127.0.0.1:1", "127.0.0.1:2"}})
	if err != nil {
		t.Fatal(err)
	}
	if a := r.Addrs(); len(a) != 1 || a[0] != "127.0.0.1:1" || r.Nodes() != 0 || r.Check() != nil || r.Stop() != nil {
		t.Errorf("direct goes to %q with %d nodes", a, r.Nodes())
	}
}

// TestIntegrationEveryBalancer starts every balancer that is installed as a pair of nodes before two backends that name
// themselves, takes one node down and up, and stops it.
func TestIntegrationEveryBalancer(t *testing.T) {
	if os.Getenv("HOMING_INTEGRATION") != "1" {
		t.Skip("starts real balancers: make integration runs it")
	}
	t.Setenv("TMPDIR", t.TempDir())
	kit, err := NewKit(t.Context(), Paths{Homing: binary(t)})
	if err != nil {
		t.Fatal(err)
	}
	backends := []string{greeter(t, "one"), greeter(t, "two")}
	present, absent := kit.Choose(All())
	for _, a := range absent {
		t.Logf("absent: %s: %s", a.Name, a.Why)
	}
	if len(present) < 7 {
		t.Errorf("homing, HAProxy and nginx make 7 balancers at least, there are %d", len(present))
	}
	for _, b := range present {
		t.Run(b.Key, func(t *testing.T) {
			r, err := kit.Start(t.Context(), b, Setup{Backends: backends, Nodes: 2})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = r.Stop() }) // again, where a check below ended the test
			for _, addr := range r.Addrs() {
				if got := greeting(t, addr); got != "one" && got != "two" {
					t.Errorf("through %s came %q", addr, got)
				}
			}
			if b.Family == FamilyDirect {
				return
			}
			for i := range r.Nodes() {
				if cpu, err := proc.CPU(r.PIDs(i)); err != nil || cpu <= 0 {
					t.Errorf("processes %v used %v: %v", r.PIDs(i), cpu, err)
				}
			}
			r.Down(1)
			if r.Nodes() != 2 || len(r.PIDs(0)) == 0 || len(r.PIDs(1)) != 0 {
				t.Errorf("%d nodes with processes %v and %v, after the second was killed", r.Nodes(), r.PIDs(0), r.PIDs(1))
			}
			// The kernel takes a ring apart behind the back of the process, and with it the socket that it listened on.
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			gone := proc.Until(ctx, func() (bool, error) {
				c, err := net.Dial("tcp", r.Addrs()[1])
				if err == nil {
					return false, c.Close()
				}
				return true, nil
			})
			if gone != nil {
				t.Errorf("a node that was killed accepts: %v", gone)
			}
			if err := r.Check(); err != nil {
				t.Error(err)
			}
			if err := r.Up(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			greeting(t, r.Addrs()[1])
			if err := r.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// binary is the homing under test.
func binary(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("HOMING_BINARY"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "homing")
	if out, err := exec.Command("go", "build", "-o", path, "homing/cmd/homing").CombinedOutput(); err != nil {
		t.Fatalf("build homing: %v\n%s", err, out)
	}
	return path
}

// greeter says its name to everybody whose first byte has come, and closes.
func greeter(t *testing.T, name string) string {
	t.Helper()
	return testkit.Serve(t, func(c net.Conn) {
		if _, err := c.Read(make([]byte, 1)); err == nil { // a check or a probe says nothing, or goes
			_, _ = io.WriteString(c, name)
		}
	})
}

// greeting connects, says something that is no TLS, and returns what comes back.
func greeting(t *testing.T, addr string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil && len(b) == 0 {
		t.Fatal(err)
	}
	return string(b)
}

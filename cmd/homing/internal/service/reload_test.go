//go:build linux

package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/config"
)

// echoes is the address of a backend that sends back what it gets.
func echoes(t *testing.T) string {
	t.Helper()
	return testkit.Serve(t, func(conn net.Conn) { _, _ = io.Copy(conn, conn) }) // it ends with the conn
}

// load reads a file as `homing run --config` does.
func load(t *testing.T, path string) (*config.Flags, *config.Config) {
	t.Helper()
	flags := config.NewFlags()
	set := pflag.NewFlagSet("run", pflag.ContinueOnError)
	config.Bind(set, flags.Table())
	if err := set.Parse([]string{"--config", path}); err != nil {
		t.Fatal(err)
	}
	c, err := flags.Load()
	if err != nil {
		t.Fatal(err)
	}
	return flags, c
}

// startService starts a service with a file; it ends with the test. path is the file.
func startService(t *testing.T, text string) (s *service, path string) {
	t.Helper()
	s = assembled(t, text, io.Discard)
	end, ended := make(chan os.Signal), make(chan error, 1)
	go func() { ended <- s.run(context.Background(), &signals{end: end}) }()
	t.Cleanup(func() {
		end <- os.Interrupt
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(20 * time.Second); s.reload("the test, until it runs") != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never ran")
		}
	}
	return s, s.flags.File
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const reloadedFile = `
listeners: [{name: main, address: "127.0.0.1:0", default: www}]
pools:
  - {name: www, backends: [ONE, TWO], checks: {interval: INTERVAL}}
  - {name: POOL, backends: [ONE]}
tables: {entries: 2000, client_entries: 2000}
timeouts: {drain: 0}
loops: 2
`

// TestReloadTogether: many ask for reloads at once, while the file changes, conns come and metrics are read. They go one
// after another, and in the end all is as the file says.
func TestReloadTogether(t *testing.T) {
	one, two := echoes(t), echoes(t)
	text := func(interval, pool string) string {
		return strings.NewReplacer("ONE", one, "TWO", two, "INTERVAL", interval, "POOL", pool).Replace(reloadedFile)
	}
	s, path := startService(t, text("1s", "first"))
	addr := s.balancer.Addrs()[0].String()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for j := range 10 {
				next := path + fmt.Sprint(i)
				writeFile(t, next, text([]string{"1s", "2s"}[j%2], []string{"first", "second"}[i%2]))
				if err := os.Rename(next, path); err != nil {
					t.Error(err)
				}
				if err := s.reload("the test"); err != nil {
					t.Error(err)
				}
			}
		})
		all.Go(func() {
			for range 20 {
				conn, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.WriteString(conn, "hello\n"); err != nil {
					t.Error(err)
				}
				if _, err := io.ReadFull(conn, make([]byte, 6)); err != nil {
					t.Error(err)
				}
				conn.Close()
				s.findings()
				s.reloads.Load()
				s.suspect(1, 2, false)
				_ = s.balancer.Stats()
			}
		})
	}
	all.Wait()
	writeFile(t, path, text("3s", "third"))
	if err := s.reload("the test"); err != nil {
		t.Fatal(err)
	}
	now := s.running.Load()
	if now.pools[1].Name() != "third" || len(now.pools) != 2 || now.config.Pools[0].Checks.Interval != 3*time.Second {
		t.Errorf("it runs with %+v", now.config)
	}
	if done := s.reloads.Load(); done.Refused > 0 || done.Applied < 41 {
		t.Errorf("%+v", done)
	}
}

// TestReloadKeeps: what stays in the file stays in the process: the pool with its backends, their state and their checks.
func TestReloadKeeps(t *testing.T) {
	one, two := echoes(t), echoes(t)
	text := strings.NewReplacer("ONE", one, "TWO", two, "INTERVAL", "1h", "POOL", "spare").Replace(reloadedFile)
	s, path := startService(t, text)
	before := s.running.Load().pools
	b := before[0].Snapshot().All()[0]
	before[0].SetUp(b, false, "the test says so")
	step := func(text string) []*pooled {
		t.Helper()
		writeFile(t, path, text)
		if err := s.reload("the test"); err != nil {
			t.Fatal(err)
		}
		return s.running.Load().pools
	}

	after := step(strings.Replace(text, "drain: 0", "drain: 0, idle: 1m", 1))
	if after[0] != before[0] || after[1] != before[1] {
		t.Error("another timeout made other checks")
	}
	after = step(strings.Replace(text, "name: spare", "name: spare, checks: {rise: 7}", 1))
	if after[0] != before[0] || after[1] == before[1] || after[1].Pool != before[1].Pool || after[1].own != before[1].own || after[1].watch == before[1].watch {
		t.Error("other checks of one pool: only they are made anew")
	}
	if got := after[0].Snapshot().ByID(b.ID); got != b || got.Up() {
		t.Error("a backend that was down came back by a reload")
	}
	after = step(strings.Replace(text, "name: spare", "name: other", 1))
	if after[1].Pool == before[1].Pool {
		t.Error("a pool of another name is the same")
	}
}

// TestReloadEnding: a process that drains refuses to reload.
func TestReloadEnding(t *testing.T) {
	one := echoes(t)
	s, _ := startService(t, strings.NewReplacer("ONE", one, "TWO", echoes(t), "INTERVAL", "1s", "POOL", "spare").Replace(reloadedFile))
	s.draining.Store(true)
	if err := s.reload("the test"); !errors.Is(err, errEnding) {
		t.Errorf("%v, want %v", err, errEnding)
	}
}

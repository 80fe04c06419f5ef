package agent

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"homing/bench/testkit"
	"homing/cluster"
)

// listenHere accepts conns, and hangs up, until the test ends.
func listenHere(t *testing.T) net.Listener {
	t.Helper()
	listener := testkit.Listen(t, "tcp", "127.0.0.1:0")
	go testkit.Accept(listener, func(net.Conn) {})
	return listener
}

// TestAgentWatch: the first success counts at once, then rise and fall do.
func TestAgentWatch(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	server.TLS = &tls.Config{}
	addr := netip.MustParseAddrPort(server.Listener.Addr().String())
	server.StartTLS()
	o := defaultOptions()
	o.backend, o.checks.Interval, o.checks.Rise, o.checks.Fall = addr, 10*time.Millisecond, 3, 2
	log := slog.New(slog.DiscardHandler)
	checker, err := newChecker(o, log)
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{options: o, log: log, checker: checker}
	ctx, cancel := context.WithCancel(t.Context())
	states := make(chan bool)
	var watching sync.WaitGroup
	watching.Go(func() { a.watch(ctx, states) })
	if !<-states {
		t.Error("it is not up at first")
	}
	server.Close()
	if <-states {
		t.Error("it did not go down")
	}
	listener, err := net.Listen("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	if !<-states {
		t.Error("it did not come back")
	}
	listener.Close()
	cancel()
	watching.Wait()
}

// lines is a writer that hands on each write.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// TestAgentSaysWhyDown: a backend that never answers is said once, with the reason.
func TestAgentSaysWhyDown(t *testing.T) {
	listener := listenHere(t)
	o := defaultOptions()
	o.backend, o.checks.Interval = netip.MustParseAddrPort(listener.Addr().String()), 100*time.Millisecond
	listener.Close()
	said := make(lines, 64)
	log := slog.New(slog.NewTextHandler(said, nil))
	checker, err := newChecker(o, log)
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{options: o, log: log, checker: checker}
	ctx, cancel := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() { a.watch(ctx, make(chan bool)) })
	if line := <-said; !strings.Contains(line, `level=WARN msg="the backend does not answer"`) || !strings.Contains(line, "connection refused") {
		t.Error(line)
	}
	time.Sleep(10 * o.checks.Interval) // the lines that must not come
	cancel()
	watching.Wait()
	if len(said) != 0 {
		t.Errorf("and again: %s", <-said)
	}
}

func TestAgentReloadsKeys(t *testing.T) {
	first, second := cluster.NewKey(), cluster.NewKey()
	path := filepath.Join(t.TempDir(), "gossip.key")
	if err := cluster.SaveKeys(path, [][]byte{first}); err != nil {
		t.Fatal(err)
	}
	o := defaultOptions()
	o.backend, o.Join, o.GossipKeyFile = netip.MustParseAddrPort("127.0.0.1:443"), []string{"127.0.0.1:1"}, path
	if err := o.validate(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	a, err := newAgent(o, "v1", slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.membership.Shutdown() }) // the test has said what matters
	mark := a.keyFile()
	if got := a.reloadKeys(mark); got != mark || len(a.keys.Keys()) != 1 {
		t.Error("a file that did not change was taken over")
	}
	if err := cluster.SaveKeys(path, [][]byte{second, first}); err != nil {
		t.Fatal(err)
	}
	mark = a.reloadKeys(mark)
	if keys := a.keys.Keys(); len(keys) != 2 || !bytes.Equal(keys[0], second) {
		t.Errorf("%d keys after the file changed", len(keys))
	}
	if prints := a.membership.Self().Meta.Keys; len(prints) != 2 || prints[0] != cluster.PrintOf(second) {
		t.Errorf("it says that it has %v", prints)
	}
	if err := os.WriteFile(path, []byte("half a ke"), 0o600); err != nil {
		t.Fatal(err)
	}
	mark = a.reloadKeys(mark)
	if len(a.keys.Keys()) != 2 || !strings.Contains(log.String(), "stay as they are") {
		t.Errorf("a broken file: %d keys\n%s", len(a.keys.Keys()), log.String())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if a.reloadKeys(mark) != mark || len(a.keys.Keys()) != 2 {
		t.Error("a file that is gone took the keys with it")
	}
}

// TestAgentOrders: drain, serve, stop with a time to drain, and a second stop that does not wait.
func TestAgentOrders(t *testing.T) {
	o := defaultOptions()
	o.backend = netip.MustParseAddrPort(listenHere(t).Addr().String())
	o.Join, o.drainTime = []string{"127.0.0.1:1"}, time.Hour
	if err := o.validate(); err != nil {
		t.Fatal(err)
	}
	a, err := newAgent(o, "v1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	control, ended := make(chan order), make(chan error, 1)
	go func() { ended <- a.run(t.Context(), control) }()
	reaches := func(want cluster.State) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); a.membership.Self().Meta.State != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("it never was %v", want)
			}
		}
	}
	reaches(cluster.StateServing)
	for _, step := range []struct {
		order order
		want  cluster.State
	}{{orderDrain, cluster.StateDraining}, {orderServe, cluster.StateServing}, {orderStop, cluster.StateDraining}} {
		control <- step.order
		reaches(step.want)
	}
	control <- orderStop
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// comer is one conn of a client, as the client saw it.
type comer struct {
	began             time.Time
	stream            int
	backend           string
	offered, accepted bool
	err               error
}

// visitors is streams of conns to one address, one after another in each, until stop.
type visitors struct {
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu  sync.Mutex
	all []comer // guarded by mu
}

// visiting starts a stream for each function, which chooses the user of the next conn.
func visiting(t *testing.T, addr string, streams ...func() user) *visitors {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	v := &visitors{cancel: cancel}
	for i, next := range streams {
		v.ended.Go(func() {
			for ctx.Err() == nil {
				one := comer{began: time.Now(), stream: i}
				r, err := next().Get(context.Background(), addr)
				one.backend, one.offered, one.accepted, one.err = r.Backend, r.Offered, r.Resumed, err
				v.mu.Lock()
				v.all = append(v.all, one)
				v.mu.Unlock()
			}
		})
	}
	t.Cleanup(v.stop)
	return v
}

func (v *visitors) stop() {
	v.cancel()
	v.ended.Wait()
}

// since is the conns that began after a time and are over.
func (v *visitors) since(at time.Time) (list []comer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, one := range v.all {
		if one.began.After(at) {
			list = append(list, one)
		}
	}
	return list
}

// more waits until each stream has so many conns that began after a time, and returns all that did.
func (v *visitors) more(t *testing.T, at time.Time, n, streams int) []comer {
	t.Helper()
	var list []comer
	enough := testkit.Wait(60*time.Second, func() bool {
		list = v.since(at)
		per := map[int]int{}
		for _, one := range list {
			per[one.stream]++
		}
		least := n
		for i := range streams {
			least = min(least, per[i])
		}
		return least >= n
	})
	if !enough {
		t.Fatalf("the clients stand still at %d conns", len(list))
	}
	return list
}

// homingCommand runs homing with arguments, and returns what it printed and its exit code.
func homingCommand(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return both.String(), cmd.ProcessState.ExitCode()
}

// loggedFresh counts the requests that a server has answered over full handshakes, by its own log.
func loggedFresh(t *testing.T, n *farm.Nginx) (fresh, resumed int) {
	t.Helper()
	text, err := os.ReadFile(n.LogPath())
	testkit.Check(t, err)
	for line := range strings.Lines(string(text)) {
		switch line[0] {
		case '.':
			fresh++
		case 'r':
			resumed++
		}
	}
	return fresh, resumed
}

// drainLoad is clients of all kinds that come back, and those that come for the first time.
func drainLoad(t *testing.T, addr string, cert *farm.Certificate) (streams []func() user) {
	t.Helper()
	for _, newUser := range []func() user{idUser(cert), goUser(cert, tls.VersionTLS12), goUser(cert, tls.VersionTLS13)} {
		list := users(t, addr, 9, newUser)
		reconnect(t, addr, list, 60) // ticket keys are learned
		streams = append(streams, func() user { return list[rand.IntN(len(list))] }, newUser)
	}
	return streams
}

// A backend is drained under load. From the moment that the command has returned it gets no fresh handshake, by what the
// clients saw and by its own log; its own sessions are resumed there until the time is over, and then no conn comes. No
// conn fails.
func TestIntegrationDrain(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{}, farm.NewECDSA)
	h := startHoming(t, addrs(servers), "--loops", "2")
	streams := drainLoad(t, h.addr, cert)
	v := visiting(t, h.addr, streams...)
	home := servers[0]
	v.more(t, time.Now(), 20, len(streams))

	out, code := homingCommand(t, "drain", home.Addr(), "--for", "1h", "--admin", h.admin)
	drained := time.Now()
	if code != 0 || !strings.Contains(out, "draining") {
		t.Fatalf("exit code %d: %s", code, out)
	}
	v.more(t, drained, 2, len(streams)) // what was on its way is over, and logged
	freshBefore, resumedBefore := loggedFresh(t, home)
	list := v.more(t, drained, 60, len(streams))
	freshAfter, resumedAfter := loggedFresh(t, home)
	check(t, list, home, func(one comer) bool { return one.accepted })
	if freshAfter != freshBefore || resumedAfter <= resumedBefore {
		t.Errorf("its log: %d fresh handshakes became %d, %d resumptions %d", freshBefore, freshAfter, resumedBefore, resumedAfter)
	}
	t.Logf("%d conns after the drain; at the drained backend %d resumptions, no fresh handshake", len(list), resumedAfter-resumedBefore)

	// Its time is over: even its own go elsewhere, lose one resumption, and are at home there.
	out, code = homingCommand(t, "drain", home.Addr(), "--for", "1s", "--wait", "--admin", h.admin)
	over := time.Now()
	if code != 0 || !strings.Contains(out, "drained") {
		t.Fatalf("exit code %d: %s", code, out)
	}
	check(t, v.more(t, over, 40, len(streams)), home, func(comer) bool { return false })
	if lost := h.metrics(t)[`homing_lost_total{reason="drained"}`]; lost == 0 {
		t.Error("the sessions of the drained backend are not counted as lost to the drain")
	}
	later := time.Now()
	for _, one := range v.more(t, later, 40, len(streams)) {
		if one.offered && !one.accepted && one.stream%2 == 0 && one.stream > 0 { // of those that come back
			t.Errorf("a client that found a new home was refused: %+v", one)
			break
		}
	}

	if out, code = homingCommand(t, "undrain", home.Addr(), "--admin", h.admin); code != 0 || !strings.Contains(out, "in service") {
		t.Fatalf("exit code %d: %s", code, out)
	}
	again := time.Now()
	met := 0
	for _, one := range v.more(t, again, 40, len(streams)) {
		if one.backend == home.Name() && !one.accepted {
			met++
		}
	}
	if met == 0 {
		t.Error("back in service it gets no fresh handshake")
	}

	// Hard: nothing comes at all.
	v.more(t, again, 60, len(streams))
	if out, code = homingCommand(t, "drain", home.Addr(), "--hard", "--admin", h.admin); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	hard := time.Now()
	check(t, v.more(t, hard, 30, len(streams)), home, func(comer) bool { return false })
	v.stop()
	check(t, v.since(time.Time{}), nil, nil)
}

// check fails the test for each conn that failed, and for each at the backend that may not be there.
func check(t *testing.T, list []comer, at *farm.Nginx, may func(comer) bool) {
	t.Helper()
	wrong := 0
	for _, one := range list {
		bad := ""
		switch {
		case one.err != nil:
			bad = fmt.Sprintf("a conn failed: %v", one.err)
		case at != nil && one.backend == at.Name() && !may(one):
			bad = fmt.Sprintf("a conn that has no business there: %+v", one)
		default:
			continue
		}
		if wrong++; wrong <= 5 {
			t.Error(bad)
		}
	}
	if wrong > 5 {
		t.Errorf("and %d more", wrong-5)
	}
}

// In a cluster all nodes drain, and a drain is over when no node has a conn there any more.
func TestIntegrationDrainCluster(t *testing.T) {
	needServers(t)
	one, other := answering(t), answering(t)
	w := newTown(t, "--backend", one, "--backend", other, "--probe", "off", "--tls", "off")
	w.build(t, 2)
	draining := func(n *node, addr string) float64 {
		return n.metrics(t)[fmt.Sprintf("homing_backend_draining{backend=%q,pool=%q}", addr, "default")]
	}
	// A conn through the second node, whose backend waits for a word of its client.
	var c net.Conn
	testkit.Wait(testkit.Patience, func() bool {
		if c != nil {
			c.Close()
		}
		var err error
		if c, err = net.Dial("tcp", w.nodes[1].addr); err != nil {
			t.Fatal(err)
		}
		return testkit.Wait(time.Second, func() bool { return w.nodes[1].open(t, one) == 1 })
	})
	defer c.Close()

	admin := w.nodes[0].admin
	if out, code := homingCommand(t, "drain", one, "--this-node", "--wait", "--admin", admin); code != 0 ||
		draining(w.nodes[0], one) != 1 || draining(w.nodes[1], one) != 0 {
		t.Errorf("at one node: exit code %d, %v and %v: %s", code, draining(w.nodes[0], one), draining(w.nodes[1], one), out)
	}
	out, code := homingCommand(t, "drain", one, "--hard", "--for", "2s", "--wait", "--admin", admin)
	if code != 1 || !strings.Contains(out, "all 2 nodes follow") || !strings.Contains(out, "1 conns are open") ||
		draining(w.nodes[1], one) != 2 {
		t.Errorf("a conn is open at the other node: exit code %d: %s", code, out)
	}
	c.Close()
	testkit.Eventually(t, "the conn is over", func() bool { return w.nodes[1].open(t, one) == 0 })
	if out, code = homingCommand(t, "drain", one, "--hard", "--wait", "--admin", admin); code != 0 {
		t.Errorf("nothing is open: exit code %d: %s", code, out)
	}
	w.nodes[1].proc.Kill()
	w.nodes[1].start(t)
	testkit.Eventually(t, "a node that starts again is told of the drain",
		func() bool { return draining(w.nodes[1], one) == 2 && draining(w.nodes[1], other) == 0 })
	w.nodes[1].proc.Kill()
	testkit.Eventually(t, "the other node vanished", func() bool { return w.nodes[0].members(t, "node", "vanished") == 1 })
	if out, code = homingCommand(t, "undrain", one, "--admin", admin); code != 1 ||
		!strings.Contains(out, "1 nodes follow, 1 do not: ") || draining(w.nodes[0], one) != 0 {
		t.Errorf("a node vanished: exit code %d: %s", code, out)
	}
	w.nodes[1].start(t)
	testkit.Eventually(t, "it is back", func() bool {
		return w.nodes[0].members(t, "node", "alive") == 1 && w.nodes[1].members(t, "node", "alive") == 1
	})
	time.Sleep(2 * time.Second) // for the order that must not come
	if draining(w.nodes[1], one) != 0 || draining(w.nodes[0], one) != 0 {
		t.Error("a drain came back that was ended while a node was away")
	}
}

// open is the conns that the node has open to a backend.
func (n *node) open(tb testing.TB, addr string) float64 {
	tb.Helper()
	return n.metrics(tb)[fmt.Sprintf("homing_backend_conns_open{backend=%q,pool=%q}", addr, "default")]
}

package integration

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// servers' addresses, on the bridge, so that a node can lose the way to them and to nothing else.
const behind = network + "2"

// says is what a command prints in the node's namespace, whatever its exit code.
func (n *pairNode) says(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := n.room.Command(t.Context(), name, args...).CombinedOutput()
	if failed := (*exec.ExitError)(nil); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return string(out)
}

// holds reports whether the node has the service's address.
func (n *pairNode) holds(t *testing.T) bool {
	t.Helper()
	return strings.Contains(n.says(t, "ip", "-o", "addr", "show", "dev", "eth0"), strings.TrimSuffix(service, ":443")+"/")
}

// readyz is the code and the line of /readyz, as keepalived's script meets them.
func (n *pairNode) readyz(t *testing.T) string {
	t.Helper()
	return n.says(t, "curl", "--silent", "--max-time", "5", "--write-out", "%{http_code}", "http://127.0.0.1:9090/readyz")
}

// cut takes the way to the backends away, or gives it back.
func (n *pairNode) cut(t *testing.T, how string) {
	t.Helper()
	n.room.IP(t, "route", how, "unreachable", behind+"/32")
}

// vrrpPair is both nodes, and what is true of them.
type vrrpPair struct {
	t     *testing.T
	nodes map[string]*pairNode
}

// holder is the node that has the address, nil when not exactly one does.
func (p *vrrpPair) holder() *pairNode {
	a, b := p.nodes[exampleA], p.nodes[exampleB]
	switch hasA, hasB := a.holds(p.t), b.holds(p.t); {
	case hasA && !hasB:
		return a
	case hasB && !hasA:
		return b
	}
	return nil
}

func (p *vrrpPair) other(n *pairNode) *pairNode {
	if n.own == exampleA {
		return p.nodes[exampleB]
	}
	return p.nodes[exampleA]
}

// moves is how often a node has taken the address.
func (p *vrrpPair) moves() int {
	n := 0
	for _, one := range p.nodes {
		n += strings.Count(one.keepalived.Output(), "Entering MASTER STATE")
	}
	return n
}

// ready waits for what all ways of asking say of a node: words, "" when it is ready.
func (p *vrrpPair) ready(n *pairNode, words string) {
	p.t.Helper()
	code, first, gauge := "200", ", ready", "homing_ready 1"
	if words != "" {
		code, first, gauge = "503", ", not ready: "+words, "homing_ready 0"
	}
	var said string
	testkit.Eventually(p.t, fmt.Sprintf("%s: /readyz %s %s", n.own, code, words), func() bool {
		said = n.readyz(p.t)
		return strings.HasSuffix(said, code) && strings.Contains(said, words)
	})
	status, _, _ := strings.Cut(n.says(p.t, binary, "status", "--admin", "127.0.0.1:9090"), "\n")
	if !strings.Contains(status, first) {
		p.t.Errorf("%s: status heads with %q, want %q", n.own, status, first)
	}
	if metrics := n.says(p.t, "curl", "--silent", "http://127.0.0.1:9090/metrics"); !strings.Contains(metrics, "\n"+gauge+"\n") {
		p.t.Errorf("%s: /metrics does not say %s", n.own, gauge)
	}
}

// stays fails when the address moves within the time that two nodes would take for it.
func (p *vrrpPair) stays(at *pairNode, moves int) {
	p.t.Helper()
	for range 8 {
		time.Sleep(500 * time.Millisecond)
		if p.holder() != at || p.moves() != moves {
			p.t.Fatalf("the address has not stayed at %s: %d moves, %d before", at.own, p.moves(), moves)
		}
	}
}

// TestIntegrationPair: the address of the example's pair is where a node can serve, and clients go on there. It stays where
// it is when the other can serve again, and when neither can.
func TestIntegrationPair(t *testing.T) {
	needPair(t)
	cert := newECDSA(t)
	testkit.NewRooms(t, bridge, network, "11", "12")
	testkit.Run(t, "ip", "addr", "add", behind+"/24", "dev", bridge)
	var servers []*farm.Nginx
	args := []string{"--check-interval", "500ms", "--check-timeout", "500ms", "--drain-delay", "5s", "--drain-timeout", "1s"}
	for name, addr := range map[string]string{"a": behind + ":8441", "b": behind + ":8442"} {
		n, err := farm.StartNginx(t.Context(), farm.NginxConfig{Name: name, Certificates: []*farm.Certificate{cert}, Addr: addr})
		testkit.Check(t, err)
		t.Cleanup(func() { _ = n.Stop() }) // its directory may be gone with the test's
		servers, args = append(servers, n), append(args, "--backend", n.Addr())
	}
	w := newTown(t)
	p := &vrrpPair{t, startPair(t, w, args...)}
	config := clientConfig(cert, tls.VersionTLS12)
	config.Source = func() *net.TCPAddr { return &net.TCPAddr{IP: net.ParseIP(outside)} }
	var list []*goClient
	for range 10 {
		list = append(list, newGoClient(config))
	}
	// clients come again, one after the other, until each is served; want is how many offers are refused.
	clients := func(what string, want int) {
		t.Helper()
		var c tally
		for _, u := range list {
			testkit.Eventually(p.t, what+": a client is served", func() bool {
				r, err := u.Get(t.Context(), service)
				if err == nil {
					c.add(r)
				}
				return err == nil
			})
		}
		t.Logf("%s: %v", what, &c)
		if c.refused() != want {
			t.Errorf("%s: %v", what, &c)
		}
	}
	testkit.Eventually(p.t, "one node has the address", func() bool { return p.holder() != nil })
	for _, n := range p.nodes {
		p.ready(n, "")
	}
	clients("at the start", 0)
	first := p.holder()
	second, moves := p.other(first), p.moves()
	const none = "pool default: none of its 2 backends is up; the last was " + behind

	first.cut(t, "add")
	t.Logf("the node with the address has lost its backends: it moved after %v", testkit.Eventually(p.t, "it moves",
		func() bool { return p.holder() == second }).Round(100*time.Millisecond))
	clients("at the other node", 0)
	p.ready(first, none)
	p.ready(second, "")

	first.cut(t, "del")
	p.ready(first, "")
	p.stays(second, moves+1)
	second.cut(t, "add")
	t.Logf("the other has: it moved back after %v", testkit.Eventually(p.t, "it moves back",
		func() bool { return p.holder() == first }).Round(100*time.Millisecond))
	clients("back at the first", 0)
	second.cut(t, "del")
	p.ready(second, "")
	p.stays(first, moves+2)

	for _, s := range servers {
		s.Kill()
	}
	for _, n := range p.nodes {
		p.ready(n, none)
	}
	p.stays(first, moves+2)
	if _, err := newGoClient(config).Get(t.Context(), service); !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		t.Errorf("without a backend: %v, want a reset, at once", err)
	}
	for _, s := range servers {
		testkit.Check(t, s.Restart(t.Context()))
	}
	for _, n := range p.nodes {
		p.ready(n, "")
	}
	p.stays(first, moves+2)
	clients("with their servers back, which have forgotten them", len(list))

	// A node that is stopped takes conns until the address has moved.
	testkit.Check(t, first.balancer.Signal(syscall.SIGTERM))
	failed, served := 0, 0
	ended := false
	for !ended {
		select {
		case <-first.balancer.Done():
			ended = true
		default:
		}
		if _, err := newGoClient(config).Get(t.Context(), service); err != nil {
			failed++
		} else {
			served++
		}
	}
	t.Logf("while it was stopped %d clients were served, %d were not", served, failed)
	if failed > 3 { // those that were under way while the address moved
		t.Errorf("while it was stopped %d of %d clients were not served", failed, failed+served)
	}
	if p.holder() != second {
		t.Error("the address is not at the node that is left")
	}
}

package integration

import (
	"bytes"
	"crypto/tls"
	"net"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"homing/bench/testkit"
)

// leanMemory is the most that homing may hold before three backends, and with the sessions of a small site: what its
// tables could hold costs nothing until they do. In bytes.
const leanMemory = 20 << 20

// leanRest is how long homing is left to itself before its memory is read: all that it does every other second has been
// done.
const leanRest = 6 * time.Second

// TestIntegrationMemory starts homing as it is by default, on each engine, before three backends that are checked and
// probed, and has it learn sessions of clients that have an address each. It holds the resident memory to leanMemory at the
// start and with 1,000 sessions; at full length it reports that with 100,000.
func TestIntegrationMemory(t *testing.T) {
	needServers(t)
	for _, engine := range []string{"io_uring", "epoll"} {
		t.Run(engine, func(t *testing.T) {
			needEngine(t, engine)
			t.Run("idle", func(t *testing.T) { t.Parallel(); memoryIdle(t, engine) })
			t.Run("sessions", func(t *testing.T) { t.Parallel(); memorySessions(t, engine) })
		})
	}
}

// lean starts homing with nothing but what it must be told.
func lean(t *testing.T, engine string, backends []string) *homing {
	t.Helper()
	h := &homing{addr: testkit.FreeAddr(t)}
	args := []string{"run", "--listen", h.addr, "--engine", engine, "--log-level", "error"}
	for _, b := range backends {
		args = append(args, "--backend", b)
	}
	h.proc = testkit.Start(t, h.addr, binary, args...)
	return h
}

func memoryIdle(t *testing.T, engine string) {
	cert, _ := testkit.Certificate(t, testkit.ECDSA(t), "localhost")
	var backends []string
	var shakes [3]atomic.Int64
	for i := range shakes {
		backends = append(backends, testkit.ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}}, func(c net.Conn) {
			if c.(*tls.Conn).HandshakeContext(t.Context()) == nil { // a check ends before
				shakes[i].Add(1)
			}
		}))
	}
	h := lean(t, engine, backends)
	testkit.Eventually(t, "all backends are probed", func() bool {
		return shakes[0].Load() > 1 && shakes[1].Load() > 1 && shakes[2].Load() > 1
	})
	h.isLean(t, "at the start")
}

func memorySessions(t *testing.T, engine string) {
	var farm []*hostileBackend
	var backends []string
	for i := range uint64(3) {
		b := startHostileBackend(t, "127.0.0.1:0")
		b.tickets.Store(1)
		b.serial.Store(i << 32)
		farm, backends = append(farm, b), append(backends, b.ln.Addr().String())
	}
	h := lean(t, engine, backends)
	farm[0].attack(t, h.addr, 1000) // which is balanced over all of them
	h.isLean(t, "with 1,000 sessions")
	if soak() {
		for _, n := range []int64{10_000, 100_000} {
			farm[0].attack(t, h.addr, n-n/10)
			time.Sleep(leanRest)
			t.Logf("with %d sessions: %s", n, mebi(h.settledMemory(t)))
		}
	}
}

// isLean checks that homing comes to rest with what it may hold.
func (h *homing) isLean(t *testing.T, when string) {
	t.Helper()
	time.Sleep(leanRest)
	now := h.settledMemory(t)
	_, peak := h.memory(t)
	t.Logf("%s: %s, %s at most", when, mebi(now), mebi(peak))
	if now > leanMemory {
		t.Errorf("%s: %s, %s are allowed", when, mebi(now), mebi(leanMemory))
	}
}

// TestIntegrationProgramIsLean: the linker leaves out the methods that nobody calls, which it cannot where one is called by
// a name that is found only then: a template does that.
func TestIntegrationProgramIsLean(t *testing.T) {
	needServers(t)
	program, err := os.ReadFile(binary)
	testkit.Check(t, err)
	if !bytes.Contains(program, []byte("text/template.")) {
		t.Fatal("no names of functions are in the program: the test tests nothing")
	}
	if bytes.Contains(program, []byte("text/template.(*state).evalField")) {
		t.Error("the program can run templates")
	}
}

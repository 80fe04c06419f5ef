package integration

import (
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/api"
)

// tells waits until homing says everywhere that clients are short of something: in status, page and metrics, and by one line
// in the log. Its count is at least so much.
func (h *homing) tells(t *testing.T, pool, listener, cause string, least uint64) {
	t.Helper()
	var st api.Status
	find := func() *api.Shortage {
		st = statusOf(t, h.admin)
		i := slices.IndexFunc(st.Shortages, func(s api.Shortage) bool {
			return s.Pool == pool && s.Listener == listener && s.Cause == cause && s.Count >= least
		})
		if i < 0 {
			return nil
		}
		return &st.Shortages[i]
	}
	if !testkit.Wait(idlePatience, func() bool { return find() != nil }) {
		t.Errorf("nothing is said of %s at %s%s, but %+v", cause, pool, listener, st.Shortages)
		return
	}
	s := find()
	t.Logf("%s: %s; %s", s.Cause, s.What, s.Remedy)
	if s.Remedy == "" || s.What == "" || s.Since.IsZero() {
		t.Errorf("%+v", s)
	}
	if name := fmt.Sprintf("homing_shortage{cause=%q,listener=%q,pool=%q}", cause, listener, pool); h.metrics(t)[name] != 1 {
		t.Errorf("%s is not 1", name)
	}
	lines := 0
	for line := range strings.Lines(h.proc.Output()) {
		if strings.Contains(line, "msg=shortage") && strings.Contains(line, " cause="+cause+" ") && strings.Contains(line,
			"level=WARN") && strings.Contains(line, "remedy=") {
			lines++
		}
	}
	if lines != 1 {
		t.Errorf("%d lines in the log, want 1 a minute:\n%s", lines, h.proc.Output())
	}
	text, err := exec.CommandContext(t.Context(), binary, "status", "--admin", h.admin).Output()
	if err != nil || !strings.Contains(string(text), "\nshort    ") || !strings.Contains(string(text), cause+" since ") ||
		!strings.Contains(string(text), s.Remedy) {
		t.Errorf("homing status: %v\n%s", err, text)
	}
}

// TestIntegrationShortages brings about what clients are reset for beyond the limits of TestIntegrationLimits, which has the
// others: homing says each everywhere, with its remedy, and the ends of conns are counted under the letters of the README.
func TestIntegrationShortages(t *testing.T) {
	needServers(t)
	small := []string{"--loops", "2", "--table-entries", "4096", "--client-entries", "4096", "--probe", "off"}
	start := func(t *testing.T, backends []string, flags ...string) *pressed {
		t.Helper()
		return &pressed{T: t, h: startHoming(t, backends, append(flags, small...)...)}
	}
	served := func(t *testing.T) string {
		t.Helper()
		ln := testkit.Listen(t, "tcp", "127.0.0.1:0")
		go answerAll(ln)
		return ln.Addr().String()
	}
	// Every connect fails as fault says, and the cause is told.
	without := func(fault, cause string, flags ...string) func(*testing.T) {
		return func(t *testing.T) {
			p := start(t, []string{served(t)}, append(flags, "--no-checks")...)
			end := inject(t, p.h.proc.PID(), fault)
			for range 5 {
				p.refuses("")
			}
			end()
			p.h.tells(t, "default", "", cause, 5)
			p.counts(`homing_terminations_total{code="RC"}`, 5)
		}
	}
	for name, run := range map[string]func(t *testing.T){
		"all backends are down": func(t *testing.T) {
			p := start(t, []string{testkit.FreeAddr(t), testkit.FreeAddr(t)}, "--check-interval", "200ms")
			for range 20 {
				p.refuses("")
			}
			p.h.tells(t, "default", "", "no_backend", 20)
			p.counts(`homing_terminations_total{code="SC"}`, 20)
			p.counts(`homing_pool_conns_unroutable_total{pool="default"}`, 20)
			text, err := exec.CommandContext(t.Context(), binary, "status", "--admin", p.h.admin).Output()
			if err != nil || strings.Count(string(text), "\n  down for ") != 2 || !strings.Contains(string(text), "connection refused") {
				t.Errorf("homing status does not say why, and since when: %v\n%s", err, text)
			}
		},
		"a source that is not this machine's": func(t *testing.T) {
			p := start(t, []string{served(t)}, "--source", "203.0.113.9")
			for range 20 {
				p.refuses("")
			}
			p.h.tells(t, "default", "", "source", 20)
			p.counts(`homing_terminations_total{code="RC"}`, 20)
		},
		"connects time out": func(t *testing.T) {
			p := start(t, []string{slowAccept(t)}, "--no-checks", "--connect-timeout", "900ms")
			var all []net.Conn
			defer func() {
				for _, c := range all {
					c.Close()
				}
			}()
			for range 400 {
				c := p.dial("")
				_, _ = c.Write(plainHello()) // it may be reset by then
				all = append(all, c)
			}
			p.h.tells(t, "default", "", "connect_timeout", 1)
		},
		"a handshake that takes too long": func(t *testing.T) {
			mute := testkit.Listen(t, "tcp", "127.0.0.1:0")
			go testkit.Accept(mute, testkit.Silence)
			p := start(t, []string{mute.Addr().String()}, "--handshake-timeout", "1s")
			for range 5 {
				p.reset(p.asks(""))
			}
			p.h.tells(t, "default", "", "handshake_timeout", 5)
			p.counts(`homing_terminations_total{code="sA"}`, 5)
		},
		"no descriptor to accept": func(t *testing.T) {
			p := start(t, []string{served(t)}, "--engine", "epoll") // io_uring accepts without a call of its own
			end := inject(t, p.h.proc.PID(), "accept4:error=EMFILE")
			var waits []net.Conn
			for range 3 {
				waits = append(waits, p.asks(""))
			}
			said := func() bool { return strings.Contains(p.h.proc.Output(), "cause=descriptors") }
			testkit.Within(t, idlePatience, "the log says it", said)
			end()
			p.h.tells(t, "", p.h.addr, "descriptors", 1)
			for _, c := range waits {
				p.answered(c)
			}
		},
		"no descriptor to connect": without("socket:error=EMFILE", "connect_descriptors"),
		"no port":                  without("connect:error=EADDRNOTAVAIL", "ports", "--engine", "epoll"),
		"no socket":                without("socket:error=ENOBUFS", "sockets"),
	} {
		t.Run(name, run)
	}
}

// TestIntegrationItself: nothing is sent to a backend that is homing's own listener, whatever name or address of this machine
// it has, and homing says so.
func TestIntegrationItself(t *testing.T) {
	needServers(t)
	own := ownAddr(t)
	_, port, err := net.SplitHostPort(testkit.FreeAddr(t))
	testkit.Check(t, err)
	for name, backend := range map[string]string{"an address": net.JoinHostPort(own, port), "a name": "localhost:" + port} {
		t.Run(name, func(t *testing.T) {
			ln := testkit.Listen(t, "tcp", "127.0.0.1:0")
			go answerAll(ln)
			h := &homing{addr: "127.0.0.1:" + port, admin: testkit.FreeAddr(t)}
			h.start(t, "run", "--listen", ":"+port, "--admin", h.admin, "--log-level", "warn",
				"--backend", backend, "--backend", ln.Addr().String(), "--probe", "off", "--no-checks")
			p := &pressed{T: t, h: h}
			h.tells(t, "default", "", "itself", 0)
			p.serves(40)
			p.counts("homing_conns_accepted_total", h.metrics(t)["homing_connects_total"]+1) // none came back; farm has asked whether it listens
			if all := statusOf(t, h.admin).Pools[0].Backends; len(all) != 1 || all[0].Address != ln.Addr().String() {
				t.Errorf("backends are %+v", all)
			}
		})
	}
}

// ownAddr is an address of this machine beyond loopback.
func ownAddr(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	testkit.Check(t, err)
	for _, one := range all {
		if network, ok := one.(*net.IPNet); ok && !network.IP.IsLoopback() && network.IP.IsGlobalUnicast() {
			return network.IP.String()
		}
	}
	t.Skip("this machine has no address beyond loopback")
	return ""
}

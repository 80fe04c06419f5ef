package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
	"homing/cmd/homing/internal/api"
)

// illness is a pool with one backend, and what its checks have to say of that.
type illness struct {
	name, checks, backend string
	why                   string // a part of the reason why it is down; "": it is up, and always was
	helps                 bool   // clients that come while it is down are served by another
}

// backendsOf is the backends of a pool, by address.
func backendsOf(t *testing.T, h *homing, pool string) map[string]api.Backend {
	t.Helper()
	all := map[string]api.Backend{}
	for _, p := range statusOf(t, h.admin).Pools {
		for _, b := range p.Backends {
			if p.Name == pool {
				all[b.Address] = b
			}
		}
	}
	return all
}

// Backends that refuse, hang, stop in the middle, are slow, have the wrong certificate or answer wrongly, or do so every
// other time: each check reports what is true. Clients of a pool whose sick backend is known to be so are all served by
// the nginx beside it.
func TestIntegrationHealthReports(t *testing.T) {
	needServers(t)
	cert := newECDSA(t)
	foreign, err := farm.NewECDSA()
	testkit.Check(t, err)
	good, stranger := startNginx(t, "good", cert), startNginx(t, "stranger", foreign)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	testkit.Check(t, os.WriteFile(ca, cert.Chain, 0o600))
	mute, slow := speaking{mute: true}.start(t, cert), speaking{wait: 1500 * time.Millisecond}.start(t, cert)
	trust := "ca_file: " + ca + ", server_name: " + farm.ServerName
	refusing := testkit.FreeAddr(t)
	all := []illness{
		{"refusing-tcp", "kind: tcp", refusing, "connection refused", true},
		{"refusing-https", "kind: https", refusing, "connection refused", true},
		{"choked-tcp", "kind: tcp, timeout: 700ms", choked(t), "failed: timeout", true},
		{"hanging-tcp", "kind: tcp", hanging(t), "", false}, // it does accept
		{"hanging-tls", "kind: tls, timeout: 700ms", hanging(t), "TLS handshake: timeout", true},
		{"hanging-https", "kind: https, timeout: 700ms", hanging(t), "TLS handshake: timeout", true},
		{"hangs-up-tcp", "kind: tcp", hangsUp(t), "", false},
		{"hangs-up-tls", "kind: tls", hangsUp(t), "TLS handshake: ", true},
		{"mute-tcp", "kind: tcp", mute, "", false},
		{"mute-tls", "kind: tls, timeout: 700ms", mute, "TLS handshake: timeout", true},
		{"slow-impatient", "kind: tls, timeout: 700ms", slow, "TLS handshake: timeout", true},
		{"slow-patient", "kind: https", slow, "", false},
		{"stranger", "kind: tls, " + trust, stranger, "certificate signed by unknown authority", true},
		{"stranger-unlooked", "kind: https", stranger, "", false},
		{"other-name", "kind: tls, ca_file: " + ca + ", server_name: other.example", good, "not other.example", false},
		{"other-alpn", "kind: tls, alpn: [h3]", good, "TLS handshake: ", false},
		{"wrong-status", "kind: https, expect: [204, 500-599]", good, "status 200, wanted [204 500-599]", false},
		{"right", "kind: https, " + trust + ", expect: [200]", good, "", false},
		{"flapping", "kind: tls", speaking{lame: true}.start(t, cert), "", false}, // never two failures in a row
	}
	var file strings.Builder
	listeners := map[string]string{}
	file.WriteString("probe: {enabled: off}\nlog: {level: error}\nchecks: {interval: 100ms, timeout: 10s, rise: 2, fall: 2}\nlisteners:\n")
	for _, ill := range all {
		listeners[ill.name] = testkit.FreeAddr(t)
		fmt.Fprintf(&file, "  - {name: %s, address: %s, default: %s}\n", ill.name, listeners[ill.name], ill.name)
	}
	file.WriteString("pools:\n")
	for _, ill := range all {
		backends := ill.backend
		if ill.helps { // one more that is right
			backends += ", " + good
			if ill.name == "stranger" {
				ill.checks += ", server_name: " + farm.ServerName
			}
		}
		fmt.Fprintf(&file, "  - {name: %s, checks: {%s}, backends: [%s]}\n", ill.name, ill.checks, backends)
	}
	text := strings.ReplaceAll(file.String(), trust+", server_name: "+farm.ServerName, trust)
	h := startFiled(t, listeners["right"], text)

	one := func(ill illness) api.Backend { return backendsOf(t, h.homing, ill.name)[ill.backend] }
	for _, ill := range all {
		if ill.why == "" {
			continue
		}
		if !testkit.Wait(testkit.Patience, func() bool { return one(ill).Health == "down" }) {
			t.Errorf("%s: it is still up", ill.name)
		}
		if why := one(ill).HealthWhy; !strings.Contains(why, ill.why) || !strings.Contains(why, "the first check failed: ") {
			t.Errorf("%s: it is down because %q, want %q", ill.name, why, ill.why)
		}
	}
	var clients sync.WaitGroup
	for _, ill := range all {
		if !ill.helps {
			continue
		}
		clients.Go(func() {
			for i := range 8 {
				backend, _, err := visitName(t, listeners[ill.name], farm.ServerName, tls.VersionTLS12+uint16(i%2), nil, nil)
				if err != nil || backend != "good" {
					t.Errorf("%s: a client got %q and %v", ill.name, backend, err)
				}
			}
		})
	}
	clients.Wait()
	for _, ill := range all {
		b := one(ill)
		if ill.why == "" && (b.Health != "up" || b.HealthWhy != "" || !b.HealthSince.IsZero()) {
			t.Errorf("%s: it was down since %v: %s", ill.name, b.HealthSince, b.HealthWhy)
		}
		if ill.why != "" && (b.Health != "down" || b.HealthSince.IsZero()) {
			t.Errorf("%s: it is %s since %v: %s", ill.name, b.Health, b.HealthSince, b.HealthWhy)
		}
	}
}

// startNginx starts one nginx that calls itself so.
func startNginx(t *testing.T, name string, cert *farm.Certificate) (addr string) {
	t.Helper()
	n, err := farm.StartNginx(t.Context(), farm.NginxConfig{Name: name, Certificates: []*farm.Certificate{cert}, QuietLog: true})
	testkit.Check(t, err)
	stops(t, n)
	return n.Addr()
}

// No client waits longer than the connect timeout, whatever is found out about backends meanwhile: half of them answer no
// SYN, and nobody checks them.
func TestIntegrationHealthConnectTimeout(t *testing.T) {
	needServers(t)
	cert := newECDSA(t)
	good, refusing := startNginx(t, "good", cert), testkit.FreeAddr(t)
	served := startHoming(t, []string{choked(t), good, refusing}, "--no-checks", "--fall", "100", "--connect-timeout",
		"900ms", "--probe", "off")
	nobody := startHoming(t, []string{choked(t), choked(t)}, "--no-checks", "--fall", "100", "--connect-timeout", "900ms", "--probe", "off")
	var all sync.WaitGroup
	var mu sync.Mutex
	var worst [2]time.Duration
	for i, h := range []*homing{served, nobody} {
		for range 12 {
			all.Go(func() {
				began := time.Now()
				_, err := newGoClient(clientConfig(cert, tls.VersionTLS13)).Get(t.Context(), h.addr)
				if took := time.Since(began); took > 20*time.Second || (err == nil) != (h == served) {
					t.Errorf("a client has waited %v and got %v", took, err)
				} else {
					mu.Lock()
					worst[i] = max(worst[i], took)
					mu.Unlock()
				}
			})
		}
	}
	all.Wait()
	t.Logf("connect timeout 900ms: the longest wait was %v where one backend of three serves, and %v where none does",
		worst[0].Round(time.Millisecond), worst[1].Round(time.Millisecond))
}

// Nothing that a client sends marks a backend down or delays it, where conns alone find out (which is the weakest place)
// and where checks do: junk, resets in the midst of a handshake, hellos that come slowly, and foreign tickets.
func TestIntegrationHealthClients(t *testing.T) {
	needServers(t)
	cert := newECDSA(t)
	stranger, one, two := startNginx(t, "stranger", cert), startNginx(t, "one", cert), startNginx(t, "two", cert)
	for _, flags := range [][]string{{"--no-checks", "--fall", "1"}, {"--check", "tls", "--check-interval", "100ms", "--fall", "1"}} {
		// A good client may take long to send its hello on a machine that is busy with the rude ones.
		h := startHoming(t, []string{one, two}, append(flags, "--hello-timeout", testkit.Patience.String())...)
		hello, err := newGoClient(clientConfig(cert, tls.VersionTLS12)).Hello()
		testkit.Check(t, err)
		rude := map[string]func(c *net.TCPConn) error{
			"junk":        func(c *net.TCPConn) error { return send(c, bytes.Repeat([]byte{0x16, 3, 1, 0, 9, 0xff}, 100)) },
			"no TLS":      func(c *net.TCPConn) error { return send(c, []byte("GET / HTTP/1.0\r\n\r\n")) },
			"reset":       func(c *net.TCPConn) error { return send(c, hello) },
			"half":        func(c *net.TCPConn) error { return send(c, hello[:len(hello)/2]) },
			"alert":       func(c *net.TCPConn) error { return send(c, append(bytes.Clone(hello), 0x15, 3, 3, 0, 2, 2, 40)) },
			"two hellos":  func(c *net.TCPConn) error { return send(c, append(bytes.Clone(hello), hello...)) },
			"end of talk": func(c *net.TCPConn) error { _ = send(c, hello); return c.CloseWrite() },
		}
		var all sync.WaitGroup
		for name, act := range rude {
			for i := range 25 {
				all.Go(func() {
					raw, err := tlsclient.Dial(t.Context(), tlsclient.RandomLoopback(), h.addr)
					if err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
					defer raw.Close()
					c, ok := raw.(*net.TCPConn)
					if !ok {
						t.Error("no TCP")
						return
					}
					_ = act(c) // homing may have refused it by now
					if i%2 == 0 {
						_ = c.SetLinger(0)
						return
					}
					_ = c.SetDeadline(time.Now().Add(200 * time.Millisecond))
					_, _ = c.Read(make([]byte, 1))
				})
			}
		}
		for range 4 {
			all.Go(func() {
				for _, newUser := range []func() user{goUser(cert, tls.VersionTLS12), goUser(cert, tls.VersionTLS13), idUser(cert)} {
					for range 6 {
						u := newUser()
						for _, addr := range []string{stranger, h.addr, h.addr} { // a foreign ticket, then its own
							if _, err := u.Get(t.Context(), addr); err != nil {
								t.Errorf("a good client: %v", err)
							}
						}
					}
				}
			})
		}
		all.Wait()
		if t.Failed() {
			t.Logf("%v: ended as %v", flags, h.by(t, "homing_terminations_total", "code"))
		}
		for addr, b := range backendsOf(t, h, "default") {
			if b.Health != "up" || !b.HealthSince.IsZero() || b.ConnectsFailed != 0 {
				t.Errorf("%v: %s is %s since %v (%s), %d connects failed", flags, addr, b.Health, b.HealthSince, b.HealthWhy, b.ConnectsFailed)
			}
		}
	}
}

func send(c net.Conn, b []byte) error {
	_, err := c.Write(b)
	return err
}

// A server that is stopped (SIGSTOP: its kernel still accepts) goes down by a TLS check. Its open conns are reset where
// the pool says so and kept elsewhere; when it comes back it has a tenth of the fresh handshakes, and all of its own
// resumptions at once.
func TestIntegrationHealthSlowStart(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	reset, keep := testkit.FreeAddr(t), testkit.FreeAddr(t)
	h := startFiled(t, reset, fill(slowStartFile, "RESET", reset, "KEEP", keep, "BACKENDS", strings.Join(addrs(servers), ", ")))
	sick := servers[0]
	home := func(addr string) (list []user) { // that have their session at the sick one
		t.Helper()
		for range 60 {
			u := newGoClient(clientConfig(cert, tls.VersionTLS12))
			r, err := u.Get(t.Context(), addr)
			testkit.Check(t, err)
			if r.Backend == sick.Name() {
				list = append(list, u)
			}
			if len(list) == 10 {
				return list
			}
		}
		t.Fatal("hardly anybody came to the server")
		return nil
	}
	clients := home(reset)
	open := map[string]*tls.Conn{reset: openAt(t, reset, sick.Name()), keep: openAt(t, keep, sick.Name())}
	signal(t, sick, syscall.SIGSTOP)
	downAt := func(pool, health string) func() bool {
		return func() bool { return backendsOf(t, h.homing, pool)[sick.Addr()].Health == health }
	}
	for _, pool := range []string{"reset", "keep"} {
		if !testkit.Wait(testkit.Patience, downAt(pool, "down")) {
			t.Fatalf("pool %s: the stopped server is still up", pool)
		}
	}
	if _, err := open[reset].Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("the conn to the stopped server ended with %v, want a reset", err)
	}
	before := h.metrics(t)
	if n := before[`homing_terminations_total{code="DD"}`]; n != 1 {
		t.Errorf("%v conns are counted as ended so, want 1", n)
	}
	signal(t, sick, syscall.SIGCONT)
	for _, pool := range []string{"reset", "keep"} {
		if !testkit.Wait(testkit.Patience, downAt(pool, "up")) {
			t.Fatalf("pool %s: the server is still down", pool)
		}
	}
	if err := ask2(open[keep]); err != nil {
		t.Errorf("the conn that was kept: %v", err)
	}
	b := backendsOf(t, h.homing, "reset")[sick.Addr()]
	if b.FreshShare > 30 || b.WholeAt.IsZero() || !strings.Contains(b.HealthWhy, "succeeded") {
		t.Errorf("it came up with %d%% of its weight until %v: %s", b.FreshShare, b.WholeAt, b.HealthWhy)
	}
	for i, u := range clients {
		if r, err := u.Get(t.Context(), reset); err != nil || !r.Resumed || r.Backend != sick.Name() {
			t.Errorf("client %d of the server that came back: %+v, %v", i, r, err)
		}
	}
	const fresh = 90
	share := map[string]int{}
	for range fresh {
		r, err := tlsclient.NewID(clientConfig(cert, tls.VersionTLS12)).Get(t.Context(), reset)
		testkit.Check(t, err)
		share[r.Backend]++
	}
	now := backendsOf(t, h.homing, "reset")[sick.Addr()].FreshShare
	t.Logf("of %d fresh handshakes at %d to %d%% of its weight: %v", fresh, b.FreshShare, now, share)
	if most := fresh*now/(200+now) + 2; share[sick.Name()] == 0 || share[sick.Name()] > most {
		t.Errorf("it had %d of %d fresh handshakes, want 1 to %d", share[sick.Name()], fresh, most)
	}
	for _, n := range servers[1:] {
		if b := backendsOf(t, h.homing, "reset")[n.Addr()]; b.FreshShare != 100 || !b.HealthSince.IsZero() {
			t.Errorf("%s has %d%% of its weight, since %v", n.Name(), b.FreshShare, b.HealthSince)
		}
	}
}

const slowStartFile = `
checks: {kind: tls, interval: 100ms, timeout: 3s, rise: 2, fall: 2}
slow_start: 10m
probe: {enabled: off}
listeners:
  - {address: RESET, default: reset}
  - {address: KEEP, default: keep}
pools:
  - {name: reset, on_down: reset, backends: [BACKENDS]}
  - {name: keep, backends: [BACKENDS]}
`

func signal(t *testing.T, n *farm.Nginx, s syscall.Signal) {
	t.Helper()
	for _, pid := range n.PIDs() {
		testkit.Check(t, syscall.Kill(pid, s))
	}
	if s == syscall.SIGSTOP {
		t.Cleanup(func() { // or nobody could stop it
			for _, pid := range n.PIDs() {
				_ = syscall.Kill(pid, syscall.SIGCONT)
			}
		})
	}
}

// openAt is a conn to that backend that has asked half a question, and waits.
func openAt(t *testing.T, addr, backend string) *tls.Conn {
	t.Helper()
	for range 60 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		raw, err := tlsclient.Dial(ctx, tlsclient.RandomLoopback(), addr)
		cancel()
		testkit.Check(t, err)
		t.Cleanup(func() { raw.Close() })
		_ = raw.SetDeadline(time.Now().Add(time.Minute))
		c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
		testkit.Check(t, send(c, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")))
		buf := make([]byte, 4096)
		n, err := c.Read(buf)
		testkit.Check(t, err)
		if strings.Contains(string(buf[:n]), "X-Backend: "+backend+"\r\n") {
			return c
		}
	}
	t.Fatalf("no conn came to %s", backend)
	return nil
}

// ask2 asks a second question on a conn of openAt.
func ask2(c *tls.Conn) error {
	if err := send(c, []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n")); err != nil {
		return err
	}
	_, err := c.Read(make([]byte, 4096))
	return err
}

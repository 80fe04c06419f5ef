package integration

import (
	"fmt"
	"maps"
	"net"
	"strings"
	"testing"

	"homing/bench/farm"
	"homing/bench/testkit"
)

const reloadFile = `
listeners:
  - {name: main, address: MAIN, default: www, tls: TLS, routes: [ROUTES]}
  MORE
pools:
  - name: www
    policy: POLICY
    checks: {interval: CHECK}
    backends: ["ONE,weight=WEIGHT", TWO THIRD]
  - {name: spare, backends: [TWO]}
timeouts: {idle: IDLE}
`

// reloadFiles is the file of the i-th reload: all that may change changes, but for the backends that hold sessions.
func reloadFiles(i int, mainAddr, more string, servers []*farm.Nginx) string {
	values := []string{
		"MAIN", mainAddr, "ONE", servers[0].Addr(), "TWO", servers[1].Addr(), "WEIGHT", fmt.Sprint(1 + i%7), "IDLE", fmt.Sprintf("%dm", 1+i%9),
		"POLICY", []string{"round-robin", "least-conn", "client-hash"}[i%3], "CHECK", fmt.Sprintf("%ds",
			1+i%2), "TLS", []string{"auto", "require"}[i%2],
	}
	third, routes, listener := "", "", ""
	if i%2 == 1 {
		third = ", " + servers[2].Addr()
		listener = "- {name: more, address: " + more + ", default: spare}"
	}
	if i%3 == 1 {
		routes = "{names: [spare.example.org], pool: spare}, {names: [\"*.example.net\"], alpn: h2, pool: www}"
	}
	return fill(reloadFile, append(values, "THIRD", third, "ROUTES", routes, "MORE", listener)...)
}

// Twenty reloads under a constant load that resumes: listeners, routes, pools, backends, weights and times change. No conn
// fails, none is refused, no session is lost, and conns that are open stay.
func TestIntegrationConfigReload(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	addr, more := testkit.FreeAddr(t), testkit.FreeAddr(t)
	h := startFiled(t, addr, reloadFiles(0, addr, more, servers))
	clients := startLoad(t, addr, mixed(t, addr, cert)...)
	clients.more(t, 150) // every ticket key is known by then
	clients.forget()
	open := []*kept{keep(t, addr, cert)}
	accepted := h.metrics(t)["homing_conns_accepted_total"]
	for i := 1; i <= 20; i++ {
		h.write(t, reloadFiles(i, addr, more, servers))
		h.reload(t, i%2 == 0, "applied")
		clients.more(t, 25)
		if i%5 == 0 {
			open = append(open, keep(t, addr, cert))
		}
		for _, k := range open {
			k.ask(t)
		}
		// The other listener is there exactly when the file says so.
		conn, err := net.Dial("tcp", more)
		if (err == nil) != (i%2 == 1) {
			t.Errorf("reload %d: the listener that comes and goes: %v", i, err)
		}
		if err == nil {
			conn.Close()
		}
		if n := h.metrics(t)[fmt.Sprintf("homing_backend_weight{backend=%q,pool=%q}", servers[0].Addr(), "www")]; n != float64(1+i%7) {
			t.Errorf("reload %d: weight %v, want %d", i, n, 1+i%7)
		}
	}
	seen := clients.end(t)
	t.Logf("20 reloads: %v", &seen)
	m := h.metrics(t)
	if m[`homing_reloads_total{result="applied"}`] != 20 || m[`homing_reloads_total{result="refused"}`] != 0 {
		t.Errorf("%v reloads applied, %v refused, want 20 and 0", m[`homing_reloads_total{result="applied"}`],
			m[`homing_reloads_total{result="refused"}`])
	}
	if m["homing_conns_accepted_total"] <= accepted {
		t.Error("a reload set counters back")
	}
	if strings.Contains(h.proc.Output(), "level=ERROR") {
		t.Errorf("errors are logged:\n%s", h.proc.Output())
	}
}

// Reloads with files that are wrong, each in its own way, under the same load: nothing changes, and who asks is told why.
func TestIntegrationConfigReloadBad(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	addr, more := testkit.FreeAddr(t), testkit.FreeAddr(t)
	good := reloadFiles(1, addr, more, servers)
	h := startFiled(t, addr, good)
	clients := startLoad(t, addr, mixed(t, addr, cert)...)
	clients.more(t, 150)
	clients.forget()
	taken := testkit.Listen(t, "tcp", "127.0.0.1:0")
	// state is what must not change.
	state := func() map[string]float64 {
		m := h.metrics(t)
		maps.DeleteFunc(m, func(name string, _ float64) bool {
			return !strings.HasPrefix(name, "homing_config_") && !strings.HasPrefix(name, "homing_backend_weight") &&
				!strings.HasPrefix(name, "homing_backend_up")
		})
		return m
	}
	open, before := keep(t, addr, cert), state()
	other := reloadFiles(3, addr, more, servers) // what would change, were it not for the fault
	for i, tt := range []struct{ why, file, want string }{
		{"a word", strings.Replace(other, "require", "always", 1), `homing.yaml:3:63: tls "always": not known: give auto or require or off`},
		{"no YAML", other + "\t- x: [", "a tab: YAML is indented with spaces"},
		{"nothing", "", "the file is empty"},
		{"a pool that is not there", strings.Replace(other, "default: spare", "default: spar", 1), `there is no pool "spar": write spare`},
		{"a name without an address", strings.Replace(other, "["+servers[1].Addr()+"]}", "[nowhere.invalid:443]}", 1), "nowhere.invalid:443"},
		{"an address in use", strings.Replace(other, more, taken.Addr().String(), 1), "address already in use"},
		{"what cannot change", other + "loops: 77\n", "loops cannot change while it runs"},
		{"several", strings.NewReplacer("weight", "wait", "idle", "ideal").Replace(other), "(and 1 more: homing config check "},
	} {
		h.write(t, tt.file)
		said := h.reload(t, false, "refused")
		if !strings.Contains(said, tt.want) {
			t.Errorf("%s: the command says %q, want %q in it", tt.why, said, tt.want)
		}
		h.reload(t, true, "refused")
		if n := strings.Count(h.proc.Output(), "reload refused, nothing has changed"); n != 2*(i+1) {
			t.Errorf("%s: %d refusals in the log, want %d", tt.why, n, 2*(i+1))
		}
		clients.more(t, 20)
		open.ask(t)
		if got := state(); !maps.Equal(got, before) {
			t.Errorf("%s: %v, want %v", tt.why, got, before)
		}
	}
	h.write(t, good)
	h.reload(t, true, "applied")
	seen := clients.end(t)
	t.Logf("bad reloads: %v", &seen)
}

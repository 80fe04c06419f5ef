//go:build linux

package service

import (
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"homing/balancer/netaddr"
	"homing/cmd/homing/internal/config"
	"homing/cmd/homing/internal/logging"
	"homing/cmd/homing/internal/upgrade"
	"homing/cmd/homing/internal/value"
)

// assembled is a service that runs nothing, of a file's text; it is closed with the test.
func assembled(t *testing.T, text string, log io.Writer) *service {
	t.Helper()
	path := filepath.Join(t.TempDir(), "homing.yaml")
	writeFile(t, path, text)
	flags, c := load(t, path)
	level := new(slog.LevelVar)
	s, err := assemble(c, "v1", new(upgrade.Estate), logging.New(log, value.LogText, level), level)
	if err != nil {
		t.Fatal(err)
	}
	s.flags = flags
	t.Cleanup(s.close)
	return s
}

const plannedFile = `
listeners: [{name: main, address: "127.0.0.1:0", default: web, routes: [{names: [a.example], pool: api}]}]
pools:
  - {name: web, backends: ["127.0.0.1:1", "127.0.0.2:1"]}
  - {name: api, backends: ["127.0.0.3:1"]}
tables: {entries: 2000, client_entries: 2000}
loops: 1
`

// TestPrepare: what a reload keeps of each pool, makes anew, and takes away, before anything follows it.
func TestPrepare(t *testing.T) {
	s := assembled(t, plannedFile, io.Discard)
	old := s.running.Load()
	// What becomes of a pool: all of it stays, its watches are made anew, or all of it is.
	of := func(p *pooled) string {
		before, _ := old.named(p.Name())
		switch {
		case before == p:
			return p.Name()
		case before != nil && before.Pool == p.Pool:
			return p.Name() + " watched anew"
		}
		return p.Name() + " new"
	}
	for _, tt := range []struct {
		why, replace, by string
		want             string
		plans            int
	}{
		{"nothing is other", "", "", "web, api", 2},
		{"a timeout", "loops: 1", "loops: 1\ntimeouts: {idle: 1m}", "web, api", 2},
		{"a policy", "{name: web,", "{name: web, policy: least-conn,", "web, api", 2},
		{"backends", `"127.0.0.2:1"]`, `"127.0.0.4:1"]`, "web, api", 2},
		{"checks of one pool", "{name: api,", "{name: api, checks: {fall: 9},", "web, api watched anew", 2},
		{"checks of all", "loops: 1", "loops: 1\nchecks: {interval: 7s}", "web watched anew, api watched anew", 2},
		{"no hello is read any more, so no key is looked for", "routes: [{names: [a.example], pool: api}]", "tls: off", "web watched anew, api watched anew", 2},
		{"a route less", ", routes: [{names: [a.example], pool: api}]", "", "web, api watched anew", 2},
		{"another name", "{name: api,", "{name: rest,", "web, rest new", 1},
		{"one more", "tables:", "  - {name: more, backends: [\"127.0.0.5:1\"]}\ntables:", "web, api, more new", 2},
		{"one less, and another order", "pools:\n  - {name: web", "pools:\n  - {name: first, backends: [\"127.0.0.5:1\"]}\n  - {name: web", "first new, web, api", 2},
	} {
		path := filepath.Join(t.TempDir(), "homing.yaml")
		text := strings.Replace(plannedFile, tt.replace, tt.by, 1)
		if tt.by == "{name: rest," {
			text = strings.Replace(text, "pool: api", "pool: rest", 1)
		}
		writeFile(t, path, text)
		_, c := load(t, path)
		next, plans, err := s.prepare(old, c)
		if err != nil {
			t.Errorf("%s: %v", tt.why, err)
			continue
		}
		var got []string
		for _, p := range next.pools {
			got = append(got, of(p))
		}
		if strings.Join(got, ", ") != tt.want || len(plans) != tt.plans {
			t.Errorf("%s: %s, and %d plans; want %s, and %d", tt.why, strings.Join(got, ", "), len(plans), tt.want, tt.plans)
		}
	}
	if s.running.Load() != old {
		t.Error("a plan has replaced what runs")
	}
}

// TestPoolsOf: what a configuration makes of its pools: which are probed and checked, and which /readyz asks.
func TestPoolsOf(t *testing.T) {
	for _, tt := range []struct{ why, text, want string }{
		{"as it comes", plannedFile, "web probed checked asked, api probed checked"},
		{"without checks", plannedFile + "checks: {disabled: true}\n", "web probed asked, api probed"},
		{"without a probe", plannedFile + "probe: {enabled: false}\n", "web checked asked, api checked"},
		{"of one that no listener leads to no hello is read", strings.Replace(plannedFile, "routes: [{names: [a.example], pool: api}]", "tls: auto", 1), "web probed checked asked, api checked"},
		{"where no listener has a default, all are asked", strings.Replace(plannedFile, "default: web, ", "", 1), "web checked asked, api probed checked asked"},
	} {
		now := assembled(t, tt.text, io.Discard).running.Load()
		var got []string
		for _, p := range now.pools {
			text := p.Name()
			if p.probe != nil {
				text += " probed"
			}
			if p.checks != nil {
				text += " checked"
			}
			if slices.Contains(now.asked, p) {
				text += " asked"
			}
			got = append(got, text)
		}
		if strings.Join(got, ", ") != tt.want {
			t.Errorf("%s: %s, want %s", tt.why, strings.Join(got, ", "), tt.want)
		}
	}
}

// TestViewListeners: those of port 0 show the port that they got, those without a name are called by their address.
func TestViewListeners(t *testing.T) {
	s := assembled(t, strings.Replace(plannedFile, "name: main, ", "", 1), io.Discard)
	bound := s.balancer.Addrs()[0].String()
	got := s.viewListeners()
	if len(got) != 1 || got[0].Address != bound || got[0].Name != bound && got[0].Name != "127.0.0.1:0" || strings.HasSuffix(bound, ":0") {
		t.Errorf("%+v, bound to %s", got, bound)
	}
	if fmt.Sprint(got[0].Routes) != "[{[a.example] [] api}]" || got[0].Default != "web" || got[0].TLS != "auto" {
		t.Errorf("%+v", got[0])
	}
}

// TestOwnBackends: a backend at an address of this machine is refused where homing itself listens there.
func TestOwnBackends(t *testing.T) {
	s := assembled(t, plannedFile, io.Discard)
	c := config.Default()
	c.Listeners = []config.Listener{{Address: ":8443"}}
	refuses := s.refuses(c)
	for backend, want := range map[string]bool{"127.0.0.1:8443": true, "127.0.0.1:443": false, "192.0.2.1:8443": false} {
		if got := refuses(netaddr.MustParse(backend)); got != want {
			t.Errorf("%s: %t", backend, got)
		}
	}
}

// TestListenersGoWhole: what a file says of a listener reaches the balancer, each field of it.
func TestListenersGoWhole(t *testing.T) {
	s := assembled(t, `
listeners:
  - {name: main, address: "unix:`+filepath.Join(t.TempDir(), "s")+`", socket_mode: 600, tls: require, default: web, routes: [{names: [a.example], alpn: [h2], pool: web}],
     listener_conns: 7, allow: [192.0.2.0/24], deny: [192.0.2.1/32], accept_proxy: [192.0.2.2/32]}
pools: [{name: web, backends: ["127.0.0.1:1"]}]
tables: {entries: 2000, client_entries: 2000}
loops: 1
`, io.Discard)
	told := s.balancerConfig(s.running.Load()).Listeners
	if len(told) != 1 || len(told[0].Routes) != 1 {
		t.Fatalf("told %+v", told)
	}
	for _, v := range []reflect.Value{reflect.ValueOf(told[0]), reflect.ValueOf(told[0].Routes[0])} {
		for field, value := range v.Fields() {
			if value.IsZero() {
				t.Errorf("%s.%s is not told", v.Type(), field.Name)
			}
		}
	}
}

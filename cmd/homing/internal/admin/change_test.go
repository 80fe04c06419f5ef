package admin

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"homing/balancer/pool"
	"homing/cluster"
	"homing/cmd/homing/internal/api"
)

const (
	first  = "192.0.2.1:443"
	second = "[2001:db8::2]:443"
)

// upSource is a source with two pools that share an address, and a backend by name; all are up.
func upSource(t *testing.T) (Source, *pool.Pool, *pool.Pool) {
	t.Helper()
	src := source(t)
	resolver := func(context.Context, string) (pool.Answer, error) {
		return pool.Answer{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")}}, nil
	}
	web := newTestPool(t, "web", pool.Options{Resolver: resolver}, first, second, "farm.example:443")
	mail := newTestPool(t, "mail", pool.Options{}, first, "192.0.2.2:25")
	src.Pools = func() []*pool.Pool { return []*pool.Pool{web, mail} }
	src.Cluster, src.Members, src.Order = nil, nil, nil
	return src, web, mail
}

func newTestPool(t *testing.T, name string, opt pool.Options, addrs ...string) *pool.Pool {
	t.Helper()
	var specs []pool.Spec
	for _, addr := range addrs {
		specs = append(specs, pool.Spec{Addr: addr})
	}
	p, err := pool.New(name, specs, opt)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func at(p *pool.Pool, addr string) *pool.Backend {
	all := p.Snapshot().All()
	return all[slices.IndexFunc(all, func(b *pool.Backend) bool { return b.Addr.String() == addr })]
}

func TestChoose(t *testing.T) {
	src, _, _ := upSource(t)
	s := serverOf(t, src)
	for _, tt := range []struct {
		sentence, backend, pool string
		want                    string // addresses, or part of the error
		status                  int
	}{
		{"an address of one pool", second, "", second, 200},
		{"an address of two pools", first, "", "backend 192.0.2.1:443 is in the pools web, mail: say which one with --pool", 409},
		{"with the pool", first, "mail", first, 200},
		{"a name is all its addresses", "farm.example:443", "", "192.0.2.7:443 192.0.2.8:443", 200},
		{"one of them", "192.0.2.8:443", "", "192.0.2.8:443", 200},
		{"nobody", "192.0.2.99:443", "", `there is no backend "192.0.2.99:443": homing status lists them`, 404},
		{"not in that pool", second, "mail", `pool mail has no backend "[2001:db8::2]:443"`, 404},
		{"no such pool", second, "ftp", `there is no pool "ftp", only ["web" "mail"]`, 404},
		{"a name with a slash is one name", "a/b", "", `there is no backend "a/b"`, 404},
	} {
		status, text := ask(t, s, http.MethodGet, api.BackendPath(tt.backend, tt.pool, ""), nil, nil)
		got := text
		if status == http.StatusOK {
			var out api.Backends
			ask(t, s, http.MethodGet, api.BackendPath(tt.backend, tt.pool, ""), nil, &out)
			var addrs []string
			for _, b := range out.Backends {
				addrs = append(addrs, b.Address)
			}
			got = strings.Join(addrs, " ")
		}
		if status != tt.status || status == 200 && got != tt.want || !strings.Contains(strings.ReplaceAll(got, `\"`, `"`), tt.want) {
			t.Errorf("%s: %d %s, want %d %s", tt.sentence, status, got, tt.status, tt.want)
		}
	}
}

// TestDrainHere: without a cluster a drain is this node's, and its answer comes once the loops follow it.
func TestDrainHere(t *testing.T) {
	src, web, mail := upSource(t)
	var events []string
	src.Sync = func(context.Context) error {
		events = append(events, "synced with "+at(web, first).Draining().String())
		return nil
	}
	s := serverOf(t, src)
	before := time.Now()
	at(web, first).Acquire()
	var out api.Changed
	ask(t, s, http.MethodPost, api.BackendPath(first, "web", "drain"), api.DrainRequest{For: 90}, &out)
	if diff := cmp.Diff([]string{"synced with soft"}, events); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	b := out.Backends[0]
	if len(out.Backends) != 1 || b.State != "draining" || b.Drain.Mode != "soft" || b.ConnsOpen != 1 ||
		b.Drain.Since.Before(before) || b.Drain.Until.Sub(b.Drain.Since).Round(time.Second) != 90*time.Second {
		t.Errorf("%+v", b)
	}
	if want := []api.NodeAnswer{{Node: "node-a", Name: "lb-1"}}; !slices.Equal(out.Nodes, want) || out.Note != "" {
		t.Errorf("%+v, note %q", out.Nodes, out.Note)
	}
	if at(mail, first).Draining() != pool.DrainOff {
		t.Error("the other pool's backend of that address was drained too")
	}

	ask(t, s, http.MethodPost, api.BackendPath(first, "web", "drain"), api.DrainRequest{Hard: true}, &out)
	if b := out.Backends[0]; b.Drain.Mode != "hard" || b.State != "draining" || time.Until(b.Drain.Until).Round(time.Minute) != time.Hour {
		t.Errorf("hard: %+v", b)
	}
	at(web, first).Release()
	var now api.Backends
	ask(t, s, http.MethodGet, api.BackendPath(first, "web", ""), nil, &now)
	if b := now.Backends[0]; b.State != "drained" {
		t.Errorf("without a conn it is %s", b.State)
	}
	out = api.Changed{}
	ask(t, s, http.MethodPost, api.BackendPath(first, "web", "undrain"), api.UndrainRequest{}, &out)
	if b := out.Backends[0]; b.State != "in service" || b.Drain != (api.Drain{Mode: "off"}) || at(web, first).Draining() != pool.DrainOff {
		t.Errorf("undrained: %+v", b)
	}

	ask(t, s, http.MethodPost, api.BackendPath("farm.example:443", "", "drain"), api.DrainRequest{}, &out)
	if len(out.Backends) != 2 || at(web, "192.0.2.7:443").Draining() != pool.DrainSoft || at(web, "192.0.2.8:443").Draining() != pool.DrainSoft {
		t.Errorf("by name: %+v", out.Backends)
	}
}

func TestDrainRefused(t *testing.T) {
	src, web, mail := upSource(t)
	s := serverOf(t, src)
	drain := func(backend, in string, request any) (int, string) {
		t.Helper()
		return ask(t, s, http.MethodPost, api.BackendPath(backend, in, "drain"), request, nil)
	}
	for _, request := range []any{
		api.DrainRequest{For: -1},
		api.DrainRequest{For: 0.5},
		api.DrainRequest{For: pool.MaxDrain.Seconds() + 1},
		`{"for_seconds":1e300}`, `{"hard":"yes"}`, `{"fro_seconds":60}`, `{} {}`, `[]`, ``, `{"hard":true`,
	} {
		if status, text := drain(first, "web", request); status != http.StatusBadRequest || at(web, first).Draining() != pool.DrainOff {
			t.Errorf("%v: %d %s", request, status, text)
		}
	}
	if status, text := drain(first, "mail", api.DrainRequest{}); status != http.StatusOK {
		t.Fatal(status, text)
	}
	if status, text := drain("192.0.2.2:25", "mail", api.DrainRequest{}); status != http.StatusConflict || !strings.Contains(text, "no other backend of pool mail takes fresh handshakes") {
		t.Errorf("the last one: %d %s", status, text)
	}
	if status, _ := drain("192.0.2.2:25", "mail", api.DrainRequest{Force: true}); status != http.StatusOK {
		t.Errorf("by force: %d", status)
	}
	if status, _ := drain("192.0.2.2:25", "mail", api.DrainRequest{Hard: true}); status != http.StatusOK {
		t.Errorf("there is nothing left to lose: %d", status)
	}
	mail.SetDraining(at(mail, first), pool.DrainOff)
	mail.SetUp(at(mail, first), false, "test")
	mail.SetDraining(at(mail, "192.0.2.2:25"), pool.DrainOff)
	if status, _ := drain("192.0.2.2:25", "mail", api.DrainRequest{}); status != http.StatusConflict {
		t.Errorf("the other is down: %d", status)
	}

	src.Sync = func(ctx context.Context) error {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the wait for the loops has no bound")
		}
		return context.DeadlineExceeded
	}
	s = serverOf(t, src)
	if status, text := drain(first, "web", api.DrainRequest{}); status != http.StatusGatewayTimeout || !strings.Contains(text, "it is done, but a loop has not answered") {
		t.Errorf("a loop that does not answer: %d %s", status, text)
	}
}

// TestDrainEverywhere: with a cluster all nodes are ordered to, unless it is for this one.
func TestDrainEverywhere(t *testing.T) {
	src, web, _ := upSource(t)
	var ordered []cluster.Order
	answers := []cluster.Answer{{Node: "node-a"}, {Node: "node-b", Error: "it vanished, and was not told"}}
	var failed error
	src.Cluster = clustered
	src.Order = func(_ context.Context, order cluster.Order) ([]cluster.Answer, error) {
		ordered = append(ordered, order)
		return answers, failed
	}
	s := serverOf(t, src)
	post := func(what string, request any) (out api.Changed) {
		t.Helper()
		method := http.MethodPost
		if what == "weight" {
			method = http.MethodPut
		}
		ask(t, s, method, api.BackendPath("farm.example:443", "web", what), request, &out)
		return out
	}
	out := post("drain", api.DrainRequest{Hard: true, For: 60})
	seven, eight := netip.MustParseAddrPort("192.0.2.7:443"), netip.MustParseAddrPort("192.0.2.8:443")
	plan := pool.DrainPlan{Mode: pool.DrainHard, For: time.Minute}
	want := []cluster.Order{{Op: cluster.OpDrain, Pool: web.Hash(), Backend: seven, Plan: plan}, {Op: cluster.OpDrain, Pool: web.Hash(), Backend: eight, Plan: plan}}
	comparer := cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })
	if diff := cmp.Diff(want, ordered, comparer, cmpopts.IgnoreUnexported(cluster.Order{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]api.NodeAnswer{{Node: "node-a", Name: "lb-1"}, {Node: "node-b", Error: "it vanished, and was not told"}}, out.Nodes); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if at(web, "192.0.2.7:443").Draining() != pool.DrainOff {
		t.Error("done here beside the order")
	}

	ordered = nil
	post("undrain", api.UndrainRequest{})
	post("weight", api.WeightRequest{Weight: 7})
	want = []cluster.Order{
		{Op: cluster.OpDrain, Pool: web.Hash(), Backend: seven},
		{Op: cluster.OpDrain, Pool: web.Hash(), Backend: eight},
		{Op: cluster.OpWeight, Pool: web.Hash(), Backend: seven, Weight: 7},
		{Op: cluster.OpWeight, Pool: web.Hash(), Backend: eight, Weight: 7},
	}
	if diff := cmp.Diff(want, ordered, comparer, cmpopts.IgnoreUnexported(cluster.Order{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	ordered = nil
	post("drain", api.DrainRequest{ThisNode: true})
	post("weight", api.WeightRequest{Weight: 9, ThisNode: true})
	if b := at(web, "192.0.2.7:443"); ordered != nil || b.Draining() != pool.DrainSoft || b.Weight() != 9 {
		t.Errorf("at this node: %v, %s, weight %d", ordered, b.Draining(), b.Weight())
	}

	failed = errors.New("the command was given before")
	if status, text := ask(t, s, http.MethodPost, api.BackendPath(second, "", "drain"), api.DrainRequest{}, nil); status != http.StatusConflict || !strings.Contains(text, "the command was given before") {
		t.Errorf("%d %s", status, text)
	}

	src.Order = nil
	s = serverOf(t, src)
	if out := post("undrain", api.UndrainRequest{}); !strings.Contains(out.Note, "--node-key-file") || at(web, "192.0.2.7:443").Draining() != pool.DrainOff {
		t.Errorf("a cluster without a node key: %+v", out)
	}
}

// TestUnixIsHere: a unix socket is a server of this node alone, whatever the others have at that path.
func TestUnixIsHere(t *testing.T) {
	const path = "unix:/run/app.sock"
	src, _, _ := upSource(t)
	web := newTestPool(t, "web", pool.Options{Node: "192.0.2.1"}, first, path)
	src.Pools = func() []*pool.Pool { return []*pool.Pool{web} }
	src.Cluster = clustered
	src.Order = func(context.Context, cluster.Order) ([]cluster.Answer, error) {
		t.Error("other nodes are told")
		return nil, nil
	}
	s := serverOf(t, src)
	for _, step := range []struct {
		method, what string
		request      any
	}{
		{http.MethodPut, "weight", api.WeightRequest{Weight: 7}},
		{http.MethodPost, "drain", api.DrainRequest{Hard: true}},
		{http.MethodGet, "drained", nil},
	} {
		var out api.Changed
		status, text := ask(t, s, step.method, api.BackendPath(path, "", step.what), step.request, &out)
		if status != http.StatusOK || len(out.Nodes) != 1 || out.Nodes[0].Error != "" || len(out.Backends) != 1 || out.Backends[0].Address != path {
			t.Errorf("%s: %d %s", step.what, status, text)
		}
	}
	if b := at(web, path); b.Draining() != pool.DrainHard || b.Weight() != 7 {
		t.Errorf("%s is drained: %v, its weight %d", path, b.Draining(), b.Weight())
	}
}

func TestDrained(t *testing.T) {
	src, web, _ := upSource(t)
	var answers []cluster.Answer
	var failed error
	src.Cluster = clustered
	src.Order = func(_ context.Context, order cluster.Order) ([]cluster.Answer, error) {
		if order.Op != cluster.OpIdle || order.Pool != web.Hash() || order.Backend.String() != second {
			t.Errorf("ordered %+v", order)
		}
		return answers, failed
	}
	s := serverOf(t, src)
	drained := func() (out api.Changed) {
		t.Helper()
		ask(t, s, http.MethodGet, api.BackendPath(second, "", "drained"), nil, &out)
		return out
	}
	failed = cluster.ErrBusy
	if out := drained(); out.Backends[0].State != "in service" || len(out.Nodes) != 1 || !strings.Contains(out.Nodes[0].Error, "is in service, 0 conns are open") {
		t.Errorf("in service: %+v", out)
	}
	web.SetDraining(at(web, second), pool.DrainHard)
	failed, answers = nil, []cluster.Answer{{Node: "node-a"}, {Node: "node-b", Error: "not drained: 3 conns are open"}}
	if out := drained(); out.Backends[0].State != "drained" || out.Nodes[0].Error != "" || out.Nodes[1].Error != "not drained: 3 conns are open" {
		t.Errorf("at the other node it is not: %+v", out)
	}
	failed = errors.New("too many commands at once: wait two minutes")
	if status, text := ask(t, s, http.MethodGet, api.BackendPath(second, "", "drained"), nil, nil); status != http.StatusConflict {
		t.Errorf("%d %s", status, text)
	}
}

func TestWeight(t *testing.T) {
	src, web, _ := upSource(t)
	s := serverOf(t, src)
	path := api.BackendPath(second, "", "weight")
	var out api.Changed
	ask(t, s, http.MethodPut, path, api.WeightRequest{Weight: 12}, &out)
	if out.Backends[0].Weight != 12 || at(web, second).Weight() != 12 {
		t.Errorf("%+v", out.Backends)
	}
	ask(t, s, http.MethodPut, path, api.WeightRequest{}, &out)
	if out.Backends[0].Weight != 1 {
		t.Errorf("back to the configuration's: %+v", out.Backends)
	}
	for _, weight := range []int{-1, 1001} {
		if status, _ := ask(t, s, http.MethodPut, path, api.WeightRequest{Weight: weight}, nil); status != http.StatusBadRequest {
			t.Errorf("weight %d: %d", weight, status)
		}
	}
}

func TestStateOf(t *testing.T) {
	for _, tt := range []struct {
		sentence string
		mode     pool.Drain
		open     int
		leads    bool
		want     string
	}{
		{"whatever leads to one in service", pool.DrainOff, 0, false, "in service"},
		{"conns are open", pool.DrainSoft, 1, false, "draining"},
		{"sessions may come back", pool.DrainSoft, 0, true, "draining"},
		{"nothing can come any more", pool.DrainSoft, 0, false, "drained"},
		{"sessions do not matter", pool.DrainHard, 0, true, "drained"},
		{"conns do", pool.DrainHard, 1, false, "draining"},
	} {
		if got := stateOf(tt.mode, tt.open, tt.leads); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.sentence, got, tt.want)
		}
	}
}

// TestSlashPath: what a client escapes comes back as it was.
func TestSlashPath(t *testing.T) {
	if got := api.BackendPath("unix:/run/a b.sock", "w&b", "drain"); got != "/v1/backends/unix:%2Frun%2Fa%20b.sock/drain?pool=w%26b" {
		t.Error(got)
	}
	if u, err := url.Parse(api.BackendPath(second, "", "")); err != nil || u.Path != "/v1/backends/"+second {
		t.Errorf("%v, %v", u, err)
	}
}

package pool

import (
	"encoding/json"
	"slices"
	"testing"

	"homing/balancer/netaddr"
)

// A unix socket is a backend like any other, by its path: no name is asked for, its settings and its state stay with it,
// over a reload and from one process to the next; but not from one node to another.
func TestUnixBackend(t *testing.T) {
	specs := []Spec{{Addr: "unix:/run/b.sock", Weight: 3, MaxConns: 7}, {Addr: "192.0.2.1:443"}, {Addr: "unix:@a"}, {Addr: "unix:/run/b.sock"}}
	p := newPool(t, Options{Node: "one"}, specs...)
	all := p.Snapshot().All()
	if len(all) != 3 {
		t.Fatalf("%d backends, want each once", len(all))
	}
	for i, want := range []string{"192.0.2.1:443", "unix:/run/b.sock", "unix:@a"} {
		if b := all[i]; b.Addr.String() != want || b.Name != want || p.Snapshot().ByID(b.ID) != b {
			t.Errorf("backend %d is %s, by the name %s", i, b.Addr, b.Name)
		}
	}
	file := all[1]
	if file.Weight() != 3 || file.MaxConns() != 7 || !file.Addr.IsUnix() {
		t.Errorf("%s has weight %d and at most %d conns", file.Addr, file.Weight(), file.MaxConns())
	}
	p.SetDraining(file, DrainSoft)
	p.SetUp(all[2], false, "test")
	another := append(specs[:3:3], Spec{Addr: "unix:/run/c.sock"})
	if err := p.Reconfigure(another, Options{Node: "two"}); err != nil { // another name is not taken
		t.Error(err)
	}
	if now := p.Snapshot().All(); len(now) != 4 || !slices.ContainsFunc(now, func(b *Backend) bool { return b.Addr == netaddr.Unix("/run/c.sock") }) {
		t.Errorf("reconfigured: %s", addrs(p))
	}
	if b := p.Snapshot().ByID(file.ID); b != file || b.Draining() != DrainSoft {
		t.Error("a backend that stays is another one")
	}

	text, err := json.Marshal(p.Export())
	if err != nil {
		t.Fatal(err)
	}
	var state State
	if err := json.Unmarshal(text, &state); err != nil {
		t.Fatal(err)
	}
	for node, same := range map[string]bool{"one": true, "two": false, "": false} {
		heir := newPool(t, Options{Node: node}, specs...)
		heir.Import(state) // by address: it is for a process of this node
		b := heir.Snapshot().All()
		if b[1].Draining() != DrainSoft || b[2].Up() || b[0].Draining() != DrainOff || !b[0].Up() {
			t.Errorf("node %q: %s is drained: %v; %s is up: %v", node, b[1].Addr, b[1].Draining(), b[2].Addr, b[2].Up())
		}
		if (b[1].ID == file.ID) != same || b[0].ID != all[0].ID {
			t.Errorf("node %q: the IDs are %08x and %08x, at node one %08x and %08x", node, b[0].ID, b[1].ID, all[0].ID, file.ID)
		}
	}
}

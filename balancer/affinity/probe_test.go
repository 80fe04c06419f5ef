package affinity

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTicketKey(t *testing.T) {
	p := newStore(t).Pool(1)
	ticket := func(stack, key string, i int) Ident { return p.HashIdent(layout(stack, key, i)) }
	probed := func(stack, key string, i int, id, now uint32) {
		p.Probed(ticket(stack, key, i), id, now)
		p.store.takeEvidence()
	}
	probed("openssl", "K", 1, 1, t0)
	probed("openssl", "K", 2, 1, t0+5)
	probed("openssl", "K", 3, 2, t0+10)
	probed("openssl", "K", 4, 1, t0+20)
	for i := range 2 { // the same four bytes everywhere: no name, but a constant of the format
		probed("jsse", "C", i, 1, t0)
		probed("jsse", "C", i+2, 2, t0)
	}
	for _, tt := range []struct {
		sentence string
		t        Ident
		id       uint32
		want     KeyInfo // Len 0: not known
	}{
		{"the first home knows it since the second ticket", ticket("openssl", "K", 9), 1, KeyInfo{Len: 16, Homes: []uint32{1, 2}, Since: t0 + 5, Last: t0 + 20}},
		{"the second since its first", ticket("openssl", "K", 9), 2, KeyInfo{Len: 16, Homes: []uint32{1, 2}, Since: t0 + 10, Last: t0 + 10}},
		{"who never showed it has no part in it", ticket("openssl", "K", 9), 3, KeyInfo{}},
		{"an unknown name is not known", ticket("openssl", "L", 1), 1, KeyInfo{}},
		{"a constant of the format is no key", ticket("jsse", "C", 9), 1, KeyInfo{}},
		{"no ticket, no key", Ident{}, 1, KeyInfo{}},
	} {
		got, ok := p.TicketKey(tt.t, tt.id, t0+30)
		if diff := cmp.Diff(tt.want, got); diff != "" || ok != (tt.want.Len > 0) {
			t.Errorf("%s: %v (-want +got)\n%s", tt.sentence, ok, diff)
		}
	}
}

func TestProbedNothing(t *testing.T) {
	p := newStore(t).Pool(1)
	p.Probed(Ident{}, 1, t0)
	p.Probed(p.HashIdent(layout("openssl", "K", 1)), 0, t0)
	p.store.takeEvidence()
	if d := p.directory.Load(); len(d.keys)+len(d.rooms) != 0 {
		t.Errorf("%d keys and %d rooms from nothing", len(d.keys), len(d.rooms))
	}
}

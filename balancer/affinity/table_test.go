package affinity

import (
	"math/rand/v2"
	"sync"
	"testing"
)

const t0 = 1_800_000_000 // the time at which tests begin

func newTable(t testing.TB, entries int) *Table {
	t.Helper()
	tab, err := NewTable(entries)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tab.Close(); err != nil {
			t.Error(err)
		}
	})
	return tab
}

func TestTableEntry(t *testing.T) {
	type op struct {
		insert     Key
		id, expiry uint32
		del        Key
	}
	for _, tt := range []struct {
		sentence string
		ops      []op
		now      uint32
		want     uint32 // id of key 7, 0 = miss
	}{
		{"an empty table knows nothing", nil, t0, 0},
		{"what is inserted is found", []op{{insert: 7, id: 3, expiry: t0 + 10}}, t0, 3},
		{"it is found until its last second", []op{{insert: 7, id: 3, expiry: t0 + 10}}, t0 + 9, 3},
		{"and not from its expiry on", []op{{insert: 7, id: 3, expiry: t0 + 10}}, t0 + 10, 0},
		{"another key is a miss", []op{{insert: 8, id: 3, expiry: t0 + 10}}, t0, 0},
		{"the same key again overwrites", []op{{insert: 7, id: 3, expiry: t0 + 10}, {insert: 7, id: 4, expiry: t0 + 5}}, t0, 4},
		{"an entry that has expired already is not made", []op{{insert: 7, id: 3, expiry: t0}}, t0 - 1, 0},
		{"a deleted key is a miss", []op{{insert: 7, id: 3, expiry: t0 + 10}, {del: 7}}, t0, 0},
		{"deleting another key changes nothing", []op{{insert: 7, id: 3, expiry: t0 + 10}, {del: 8}}, t0, 3},
		{"a deleted key can come back", []op{{insert: 7, id: 3, expiry: t0 + 10}, {del: 7}, {insert: 7, id: 5, expiry: t0 + 1}}, t0, 5},
		{"the largest ID is an ID", []op{{insert: 7, id: AnyID, expiry: t0 + 10}}, t0, AnyID},
	} {
		tab := newTable(t, 100)
		for _, o := range tt.ops {
			if o.del != 0 {
				tab.Delete(o.del)
			} else {
				tab.Insert(o.insert, o.id, o.expiry, t0)
			}
		}
		id, _, ok := tab.Lookup(7, tt.now)
		if id != tt.want || ok != (tt.want != 0) {
			t.Errorf("%s: got %d, %v, want %d", tt.sentence, id, ok, tt.want)
		}
	}
}

func TestTableSize(t *testing.T) {
	for _, tt := range []struct {
		entries, bytes int
	}{
		{1, 64}, {2, 64}, {3, 128}, {6, 192}, {600, 16_000}, {1_000_000, 26_666_688},
	} {
		tab := newTable(t, tt.entries)
		if tab.Bytes() != tt.bytes || tab.entries != tt.entries {
			t.Errorf("table of %d: %d entries in %d bytes, want %d", tt.entries, tab.entries, tab.Bytes(), tt.bytes)
		}
	}
	for _, n := range []int{-1, 0, MaxEntries + 1} {
		if _, err := NewTable(n); err == nil {
			t.Errorf("table of %d entries: no error", n)
		}
	}
}

// TestTableAsMap compares with a map that is never full: below 60 % use nothing
// may be lost, but for a handful that found both buckets full.
func TestTableAsMap(t *testing.T) {
	type entry struct{ id, expiry uint32 }
	r := rand.New(rand.NewPCG(1, 2))
	tab := newTable(t, 2000)
	dumb := map[Key]entry{}
	now := uint32(t0)
	for range 200_000 {
		k := makeKey(mix(r.Uint64N(1500)+1), 0)
		switch r.IntN(10) {
		case 0:
			now++
		case 1:
			tab.Delete(k)
			delete(dumb, k)
		case 2, 3, 4:
			e := entry{r.Uint32N(9) + 1, now + 1 + r.Uint32N(1000)}
			tab.Insert(k, e.id, e.expiry, now)
			dumb[k] = e
		default:
			want, have := dumb[k]
			have = have && want.expiry > now
			id, expiry, ok := tab.Lookup(k, now)
			if ok && (!have || id != want.id || expiry != want.expiry) {
				t.Fatalf("key %x: got %d until %d, want %v", k, id, expiry, want)
			}
			if have && !ok && tab.evicted.Load() == 0 {
				t.Fatalf("key %x is lost, and nothing was evicted", k)
			}
		}
	}
	live := 0
	for _, e := range dumb {
		if e.expiry > now {
			live++
		}
	}
	if used := tab.Used(now); used < live-int(tab.evicted.Load()) || used > live {
		t.Errorf("Used is %d, the map has %d, evicted %d", used, live, tab.evicted.Load())
	}
}

func TestTableLosesLittleAtItsSize(t *testing.T) {
	const n = 600_000
	tab := newTable(t, n)
	for i := range n {
		tab.Insert(makeKey(mix(uint64(i)), 0), 1, t0+100, t0)
	}
	if tab.evicted.Load() > n/1000 {
		t.Errorf("%d of %d live entries evicted while filling the table to its size", tab.evicted.Load(), n)
	}
	if used := tab.Used(t0); used < n*97/100 || used > n*103/100 {
		t.Errorf("Used estimates %d, want about %d", used, n)
	}
	if tab.inserts.Load() != n {
		t.Errorf("Inserts is %d, want %d", tab.inserts.Load(), n)
	}
}

func TestTableEvictsTheOldest(t *testing.T) {
	tab := newTable(t, 4) // two buckets: every key may use both
	slots := uint32(tab.Bytes() / 16)
	for i := range slots {
		// The earlier it was written, the longer it says that it lives.
		tab.Insert(Key(i+1), i+1, t0+1<<(20-i), t0+100*i)
	}
	if tab.evicted.Load() != 0 {
		t.Fatalf("%d evicted before the table is full", tab.evicted.Load())
	}
	tab.Insert(99, 99, t0+1000, t0+800)
	if _, _, ok := tab.Lookup(1, t0); ok || tab.evicted.Load() != 1 {
		t.Errorf("the entry that was written first is still there: %v, evicted %d", ok, tab.evicted.Load())
	}
	tab.Insert(98, 98, t0+10_000, t0+1000) // key 99 has expired: its slot is free
	if tab.evicted.Load() != 1 {
		t.Errorf("an expired entry counts as evicted")
	}
	for _, k := range []Key{98, 2, 3, 8} {
		if _, _, ok := tab.Lookup(k, t0+1000); !ok {
			t.Errorf("key %d is lost", k)
		}
	}
}

func TestTableTornPairIsAMiss(t *testing.T) {
	tab := newTable(t, 100)
	tab.Insert(7, 3, t0+10, t0)
	for i := range tab.words {
		if w := tab.words[i].Load(); w != 0 {
			tab.words[i].Store(w ^ 1<<40) // as if the other half came from another write
			if id, _, ok := tab.Lookup(7, t0); ok {
				t.Errorf("word %d torn: found %d", i, id)
			}
			tab.words[i].Store(w)
		}
	}
	if _, _, ok := tab.Lookup(7, t0); !ok {
		t.Error("whole again, but not found")
	}
}

// TestTableConcurrent: a value found is always one that was inserted for that key.
func TestTableConcurrent(t *testing.T) {
	tab := newTable(t, 60) // crowded: evictions and races for slots all the time
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 1))
			for range 20_000 {
				n := r.Uint32N(150) + 1
				k := Key(mix(uint64(n)))
				switch r.IntN(4) {
				case 0:
					tab.Insert(k, n*10+uint32(g), t0+1+r.Uint32N(100), t0)
				case 1:
					tab.Delete(k)
				default:
					if id, _, ok := tab.Lookup(k, t0); ok && id/10 != n {
						t.Errorf("key of %d gave %d", n, id)
						return
					}
				}
			}
		})
	}
	wg.Wait()
}

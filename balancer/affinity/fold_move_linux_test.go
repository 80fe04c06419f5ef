package affinity

import "testing"

// outgrownEntry makes a table that has just unfolded, and in it an entry of k that is not where it belongs any more.
func outgrownEntry(t *testing.T, id uint32) (tab *Table, k Key, from *bucket, slot int, w1 uint64) {
	t.Helper()
	tab = newFolded(t, 100_000)
	l := tab.seen()
	for i := 0; ; i++ {
		k = keyOf(i)
		a, b := tab.candidates(k, l.folds())
		if c, d := tab.candidates(k, l.folds()-1); a != c && a != d && b != c && b != d {
			break
		}
	}
	tab.Insert(k, id, t0+1000, t0)
	same, _ := tab.slotIn(k, t0, l.folds())
	if same.bucket == nil || !tab.unfold(l) {
		t.Fatal("the entry is not there, or the table does not unfold")
	}
	return tab, k.with(spanOf(1000)), same.bucket, same.slot, same.old
}

// What is written again while who settles the table has the old entry in hand is there when it is settled.
func TestFoldWrittenWhileMoved(t *testing.T) {
	tab, k, from, slot, w1 := outgrownEntry(t, 1)
	tab.Insert(k, 2, t0+1000, t0)
	tab.move(from, slot, k, w1, t0, roomDepth)
	l := tab.seen()
	tab.folding.Store(uint64(foldingOf(l.folds(), l.folds()))) // as settleSlice ends
	if id, _, ok := tab.Lookup(k, t0); !ok || id != 2 {
		t.Errorf("got %d, %v; want what was written last", id, ok)
	}
	if n := tab.held(); n != 1 {
		t.Errorf("%d entries are counted", n)
	}
}

// Two who move the same entry leave one.
func TestFoldMovedTwice(t *testing.T) {
	tab, k, from, slot, w1 := outgrownEntry(t, 1)
	tab.move(from, slot, k, w1, t0, roomDepth)
	tab.move(from, slot, k, w1, t0, roomDepth)
	if n := tab.Used(t0); n != 1 || tab.held() != 1 {
		t.Errorf("%d entries are there, %d are counted", n, tab.held())
	}
}

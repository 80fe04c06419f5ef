package replica

import (
	"testing"

	"homing/bench/testkit"
)

// TestNodeKeyRotation changes the node key of two nodes as `homing run -h` says, one node after the other, while both
// learn: nothing is lost, and in the end nobody trusts the old key.
func TestNodeKeyRotation(t *testing.T) {
	a, b := startNode(t, "a"), startNode(t, "b")
	mesh(a, b)
	from := 0
	learn := func(why string) {
		t.Helper()
		a.learn(from, from+50)
		b.learn(from+50, from+100)
		testkit.Eventually(t, why, func() bool { return b.knows(from, from+50) == 50 && a.knows(from+50, from+100) == 50 })
		from += 100
	}
	learn("with the old key")
	old, fresh := nodeKey(1), nodeKey(2)
	for _, step := range []struct {
		why  string
		keys [][]byte
	}{
		{"the new key is trusted", [][]byte{old, fresh}},
		{"the new key is shown", [][]byte{fresh, old}},
		{"the old key is gone", [][]byte{fresh}},
	} {
		for _, n := range []*testNode{a, b} {
			if err := n.r.SetNodeKeys(step.keys); err != nil {
				t.Fatal(err)
			}
			learn(step.why + ", at " + n.r.cfg.Node)
		}
	}
	if refused := a.r.Stats().Refused + b.r.Stats().Refused; refused != 0 {
		t.Errorf("%d streams were refused:\n%s\n%s", refused, a.log, b.log)
	}
	stranger := startNode(t, "c")
	mesh(a, b, stranger)
	testkit.Eventually(t, "who has the old key only is refused",
		func() bool { return a.r.Stats().Refused+b.r.Stats().Refused+stranger.r.Stats().Refused > 0 })
	if s := stranger.peerStats("a"); s.Streams != 0 {
		t.Errorf("%+v", s)
	}
}

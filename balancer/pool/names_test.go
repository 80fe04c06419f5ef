package pool

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
)

// complete is n handshakes with a name.
func complete(names *Names, name string, n int) {
	for range n {
		names.Completed(names.Offer([]byte(name)))
	}
}

func TestNames(t *testing.T) {
	at := time.Unix(1_800_000_000, 0)
	for _, tt := range []struct {
		sentence string
		do       func(n *Names)
		k        int
		want     []string
	}{
		{"nothing has come", func(*Names) {}, 8, nil},
		{"the most used come first", func(n *Names) {
			complete(n, "b.example", 2)
			complete(n, "a.example", 1)
			complete(n, "c.example", 3)
		}, 8, []string{"c.example", "b.example", "a.example"}},
		{"equals in the order of the alphabet", func(n *Names) { complete(n, "b.example", 1); complete(n, "a.example", 1) }, 8, []string{"a.example", "b.example"}},
		{"no more than asked for", func(n *Names) { complete(n, "a.example", 2); complete(n, "b.example", 1) }, 1, []string{"a.example"}},
		{"none is asked for", func(n *Names) { complete(n, "a.example", 2) }, 0, nil},
		{"a hello alone counts for nothing", func(n *Names) { n.Offer([]byte("a.example")) }, 8, nil},
		{"no name is no name", func(n *Names) { complete(n, "", 9) }, 8, nil},
		{"nor is an address, nor what the DNS does not hold", func(n *Names) {
			for _, name := range []string{"192.0.2.1", "2001:db8::1", "a b", "a\n", "ä.example", "A.example", "x\x00y", strings.Repeat("a", 254)} {
				complete(n, name, 5)
			}
		}, 8, nil},
		{"the longest name is", func(n *Names) { complete(n, strings.Repeat("a", 253), 1) }, 8, []string{strings.Repeat("a", 253)}},
		{"a name pushed out before it completed is not counted", func(n *Names) {
			ref := n.Offer([]byte("slow.example"))
			for i := range maxPending {
				n.Offer(fmt.Appendf(nil, "n%d.example", i))
			}
			n.Completed(ref)
		}, 8, nil},
		{"yesterday's names go", func(n *Names) {
			complete(n, "old.example", 1000)
			n.Top(1, at.Add(-24*time.Hour))
			n.Top(1, at.Add(-time.Second))
			complete(n, "new.example", 1)
		}, 8, []string{"new.example"}},
		{"half of the weight is gone after the half-life", func(n *Names) {
			complete(n, "old.example", 10)
			n.Top(1, at.Add(-nameHalfLife-time.Minute))
			n.Top(1, at.Add(-time.Minute))
			complete(n, "new.example", 6)
		}, 8, []string{"new.example", "old.example"}},
	} {
		n := newNames()
		tt.do(n)
		if got := n.Top(tt.k, at); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.sentence, got, tt.want)
		}
	}
}

// Of a thousand names that come in any order, those that are used most are found.
func TestNamesFindsTheMostUsed(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var stream []string
	for i := range 1000 { // each once or twice
		stream = append(stream, fmt.Sprintf("junk%d.example", i), fmt.Sprintf("junk%d.example", r.IntN(1000)))
	}
	want := []string{"a.example", "b.example", "c.example"}
	for i, name := range want {
		stream = append(stream, slices.Repeat([]string{name}, 300-50*i)...)
	}
	r.Shuffle(len(stream), func(i, j int) { stream[i], stream[j] = stream[j], stream[i] })
	n := newNames()
	for _, name := range stream {
		complete(n, name, 1)
	}
	if got := n.Top(3, time.Now()); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Loops count while somebody asks; -race watches.
func TestNamesConcurrent(t *testing.T) {
	n := newNames()
	var all sync.WaitGroup
	for loop := range 4 {
		all.Go(func() {
			for i := range 5000 {
				complete(n, "common.example", 1)
				complete(n, fmt.Sprintf("n%d.example", loop*10_000+i), 1)
			}
		})
	}
	all.Go(func() {
		for i := range 200 {
			n.Top(8, time.Unix(int64(i), 0))
		}
	})
	all.Wait()
	if got := n.Top(1, time.Unix(200, 0)); !slices.Equal(got, []string{"common.example"}) {
		t.Errorf("%q", got)
	}
}

func TestNamesAllocateNothing(t *testing.T) {
	n := newNames()
	known, junk := []byte("a.example"), []byte("xxxxxxxx.example")
	complete(n, string(known), 1)
	i := uint64(0)
	if allocs := testing.AllocsPerRun(1000, func() {
		n.Completed(n.Offer(known))
		i++
		for j := range 8 {
			junk[j] = 'a' + byte(i>>(4*j))&15
		}
		n.Offer(junk)
	}); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkNames(b *testing.B) {
	n := newNames()
	for i := range maxNames {
		complete(n, fmt.Sprintf("n%d.example", i), 1)
	}
	name := []byte("n50.example")
	b.ReportAllocs()
	for b.Loop() {
		n.Completed(n.Offer(name))
	}
}

// TestNamesThatHashAlike: who knows the code finds names with one hash; none of them is counted for another, of a hello
// that went nowhere.
func TestNamesThatHashAlike(t *testing.T) {
	seen := map[uint32]string{}
	found := 0
	for i := 0; found < 20; i++ {
		name := fmt.Sprintf("n%d.example", i)
		ref := uint32(xxhash.Sum64String(name)) | 1
		other, ok := seen[ref]
		seen[ref] = name
		if !ok {
			continue
		}
		found++
		n := newNames()
		n.Offer([]byte(other))
		complete(n, name, 5)
		if top := n.Top(8, time.Unix(1_800_000_000, 0)); !slices.Equal(top, []string{name}) {
			t.Errorf("%s was offered, %s completed: %v", other, name, top)
		}
	}
}

package pool

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// newPool makes a pool of literal addresses, none of which is ever connected to.
func newPool(t testing.TB, opt Options, specs ...Spec) *Pool {
	t.Helper()
	p, err := New("web", specs, opt)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// numbered is n specs of weight 1.
func numbered(n int) []Spec {
	specs := make([]Spec, n)
	for i := range specs {
		specs[i].Addr = fmt.Sprintf("10.0.%d.%d:443", i/250, i%250+1)
	}
	return specs
}

// weighted is one spec per weight.
func weighted(weights ...int) []Spec {
	specs := numbered(len(weights))
	for i, w := range weights {
		specs[i].Weight = w
	}
	return specs
}

// member is the i-th backend by address.
func member(p *Pool, i int) *Backend { return p.Snapshot().All()[i] }

// hold opens n conns on a backend.
func hold(b *Backend, n int) {
	for range n {
		b.Acquire()
	}
}

func skipping(backends ...*Backend) Skip {
	var skip Skip
	for _, b := range backends {
		skip.Add(b.ID)
	}
	return skip
}

// hashes gives the same well-spread hashes in every run.
func hashes() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

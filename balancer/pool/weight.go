package pool

import (
	"cmp"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
)

// Report is what a backend says of itself (the agent check that HAProxy made common). It stands beside what the
// operator says: a backend that reports itself ready is not undrained, one that reports a weight has that share of its
// own.
type Report struct {
	Drain    bool // no fresh handshakes
	Percent  int  // of its weight, 1 to MaxPercent; 0: all of it
	MaxConns int  // at most this many; 0: the spec's
}

// MaxPercent bounds a reported weight, as a share of the configured one.
const MaxPercent = 256

func (r Report) String() string {
	var words []string
	if r.Drain {
		words = append(words, "drain")
	}
	if r.Percent > 0 {
		words = append(words, strconv.Itoa(r.Percent)+"%")
	}
	if r.MaxConns > 0 {
		words = append(words, "maxconn:"+strconv.Itoa(r.MaxConns))
	}
	if len(words) == 0 {
		return "ready"
	}
	return strings.Join(words, " ")
}

// SetReport applies what a backend says of itself, in place of what it said before. Nothing happens when it is the
// same. Weights come into force with the next pick.
func (p *Pool) SetReport(b *Backend, r Report) error {
	if r.Percent < 0 || r.Percent > MaxPercent || r.MaxConns < 0 {
		const text = "pool: backend %s reports %d%% and %d conns: up to %d%%, and no negative number"
		return fmt.Errorf(text, b.Addr, r.Percent, r.MaxConns, MaxPercent)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.gone.Load() || b.report == r {
		return nil
	}
	b.report = r
	b.reportsDrain.Store(r.Drain)
	b.updateBounds()
	p.log.Info("backend reports", p.about(b), slog.String("report", r.String()))
	p.reconcile()
	return nil
}

// Report is what the backend has said of itself last.
func (p *Pool) Report(b *Backend) Report {
	p.mu.Lock()
	defer p.mu.Unlock()
	return b.report
}

// updateBounds makes weight and bound of conns of the spec, the operator and the report. pool.mu is held.
func (b *Backend) updateBounds() {
	b.weight.Store(int64(b.effectiveWeight()))
	limit := b.specMaxConns
	if b.report.MaxConns > 0 && (limit == 0 || b.report.MaxConns < limit) {
		limit = b.report.MaxConns
	}
	b.maxConns.Store(int64(limit))
}

// SetWeight gives a backend another weight, 1 to MaxWeight, until the specs are given anew. 0 goes back to theirs.
func (p *Pool) SetWeight(b *Backend, weight int) error {
	if weight < 0 || weight > MaxWeight {
		return fmt.Errorf("pool: weight %d is not from 1 to %d", weight, MaxWeight)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.gone.Load() {
		return fmt.Errorf("pool: backend %s has left the pool", b.Addr)
	}
	b.handWeight = weight
	b.weight.Store(int64(b.effectiveWeight()))
	p.log.Info("backend weight", p.about(b), slog.Int("weight", b.Weight()))
	p.reconcile()
	return nil
}

// effectiveWeight is the weight that counts. pool.mu is held.
func (b *Backend) effectiveWeight() int {
	weight := cmp.Or(b.handWeight, b.specWeight)
	if percent := b.report.Percent; percent > 0 {
		weight = min(max((weight*percent+50)/100, 1), MaxWeight)
	}
	return weight
}

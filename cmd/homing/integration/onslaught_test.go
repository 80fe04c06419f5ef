package integration

import (
	"context"
	"sync"
	"testing"
	"time"
)

// onslaughtLines is what the nodes of a pair may say in a minute together, whoever attacks them.
const onslaughtLines = 60

// vigil is what was seen of a pair's nodes while good clients came.
type vigil struct {
	asked   []stretch     // answers to operators
	slowest time.Duration // of them, by the machine's clock
	wrong   error         // the last that was wrong with the pool
}

// keep asks the nodes until ctx is done.
func (v *vigil) keep(ctx context.Context, p *twoNodes, o *onslaught) {
	since := time.Now()
	for ctx.Err() == nil {
		for _, h := range p.nodes {
			for _, path := range []string{"/healthz", "/v1/status"} {
				begun := time.Now()
				if _, err := h.get(context.Background(), path); err != nil {
					v.wrong = err
				}
				v.asked = append(v.asked, stretch{begun, time.Now()})
			}
			if err := h.inService(context.Background(), o.servers, since); err != nil {
				v.wrong = err
			}
		}
		sleep(ctx, 250*time.Millisecond)
	}
}

// watched lets good clients come to both pairs for d, while meanwhile goes on at the attacked one.
func (o *onslaught) watched(ctx context.Context, d time.Duration, meanwhile func(context.Context)) (attacked, control *timedTally, seen, beside vigil) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	o.attacked.good.take()
	o.control.good.take()
	var all sync.WaitGroup
	all.Go(func() { o.attacked.good.run(ctx) })
	all.Go(func() { o.control.good.run(ctx) })
	all.Go(func() { seen.keep(ctx, o.attacked, o) })
	all.Go(func() { beside.keep(ctx, o.control, o) })
	all.Go(func() { meanwhile(ctx) })
	all.Wait()
	seen.slowest, beside.slowest = o.clock.longest(seen.asked), o.clock.longest(beside.asked)
	return o.attacked.good.take(), o.control.good.take(), seen, beside
}

// All attacks at once, by one who reads the answers and spends most on what works, from 1, 10 and 200 networks, on a pair of
// nodes before three nginx with good clients of all kinds: these lose nothing, what the nodes know is what a pair knows that
// nobody has attacked, operators are answered, and log and memory stay small. Then it is quiet, and as if nothing had been.
// 30 s of attacks; make soak takes ten minutes.
func TestIntegrationOnslaught(t *testing.T) {
	length, quiet := 30*time.Second, 10*time.Second
	if soak() {
		length, quiet = 10*time.Minute, time.Minute
	}
	o := layOnslaught(t)
	a := newAttacker(t, o)
	o.watched(t.Context(), 3*time.Second, func(context.Context) {}) // whatever is learned by the way is known then
	for _, width := range []int64{1, 10, 200} {
		a.width.Store(width)
		begun, before := time.Now(), o.attacked.lines(t)
		attacked, control, seen, beside := o.watched(t.Context(), length/3, a.run)
		perMinute := float64(o.attacked.lines(t)-before) / max(1, time.Since(begun).Minutes())
		t.Logf("%3d addresses: good clients %v", width, attacked)
		t.Logf("     not attacked: good clients %v", control)
		t.Logf("     operators waited %v at most, %v at the other pair; %.0f lines a minute",
			seen.slowest.Round(time.Millisecond), beside.slowest.Round(time.Millisecond), perMinute)
		o.judge(t, attacked, control, seen, beside)
		if perMinute > onslaughtLines {
			t.Errorf("%.0f lines a minute in the log", perMinute)
		}
	}
	a.report(t)
	attacked, control, seen, beside := o.watched(t.Context(), quiet, func(context.Context) {})
	t.Logf("quiet again: good clients %v", attacked)
	t.Logf("     not attacked: good clients %v", control)
	o.judge(t, attacked, control, seen, beside)
	o.same(t)
}

// judge says that the good clients of a pair under attack have lost nothing, and its operators neither.
func (o *onslaught) judge(t *testing.T, attacked, control *timedTally, seen, beside vigil) {
	t.Helper()
	for _, c := range []*timedTally{attacked, control} {
		if c.share() < 0.99 || c.failed > 0 || c.conns == 0 {
			t.Errorf("%.1f%% of good offers accepted: %v", 100*c.share(), c)
		}
	}
	for _, v := range []vigil{seen, beside} {
		if v.wrong != nil || len(v.asked) == 0 {
			t.Errorf("after %d questions: %v", len(v.asked), v.wrong)
		}
	}
	if seen.slowest > max(time.Second, 3*beside.slowest) {
		t.Errorf("an operator waited %v, %v at the pair that is not attacked", seen.slowest, beside.slowest)
	}
}

// same says that the attacked nodes know what the others know, and have taken little more memory.
func (o *onslaught) same(t *testing.T) {
	t.Helper()
	want := o.control.nodes[0].known(t)
	want.sessions++ // the attacker's own, which a server gave it
	var most int64  // what one takes that is not attacked
	for _, h := range o.control.nodes {
		_, peak := h.memory(t)
		most = max(most, peak)
	}
	for i, h := range o.attacked.nodes {
		now, peak := h.memory(t)
		got := h.known(t)
		t.Logf("node %d: RSS %s, %s at most, %s where nobody attacks; %v sessions; ticket keys %s", i, mebi(now), mebi(peak),
			mebi(most), got.sessions, got.keys)
		if got != want || got.doubtful > 0 {
			t.Errorf("node %d knows %+v, one that is not attacked %+v", i, got, want)
		}
		if peak > most+constant {
			t.Errorf("node %d has taken %s, one that is not attacked %s", i, mebi(peak), mebi(most))
		}
		for reason, n := range h.lost(t) {
			t.Logf("node %d lost %v: %s", i, n, reason)
		}
	}
}

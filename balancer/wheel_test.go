//go:build linux

package balancer

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"homing/balancer/internal/netio"
)

// naiveWheel is a list of who is to be asked at which tick, for comparison.
type naiveWheel map[uint32]int64

func (n naiveWheel) first() (at int64, ok bool) {
	for _, t := range n {
		if !ok || t < at {
			at, ok = t, true
		}
	}
	return at, ok
}

// wheelRig is a wheel, its conns, and when each of them is due.
type wheelRig struct {
	*wheel
	t     *testing.T
	conns conns
	naive naiveWheel
	due   map[uint32]netio.Time
	now   netio.Time
}

func newWheelRig(t *testing.T, n int) *wheelRig {
	r := &wheelRig{wheel: newWheel(), t: t, naive: naiveWheel{}, due: map[uint32]netio.Time{}}
	for range n {
		r.conns.take()
	}
	return r
}

func (r *wheelRig) conn(i int) *conn { return r.conns.at(uint32(i)) }

func (r *wheelRig) set(c *conn, due netio.Time) {
	r.wheel.set(&r.conns, c, due)
	at := int64(due) / int64(tick)
	if int64(due)%int64(tick) > 0 {
		at++
	}
	// What is past comes at the next tick that has not run; what is beyond the horizon at the last one in sight.
	r.naive[c.index] = min(max(at, r.next), r.next+wheelSlots-1)
	r.due[c.index] = due
}

func (r *wheelRig) unset(c *conn) {
	r.wheel.unset(&r.conns, c)
	delete(r.naive, c.index)
	delete(r.due, c.index)
}

// turn moves the clock and returns who is asked, having compared with the list.
func (r *wheelRig) turn(now netio.Time) (asked []*conn) {
	r.t.Helper()
	r.now = now
	var want []uint32
	for i, at := range r.naive {
		if netio.Time(at*int64(tick)) <= now {
			want = append(want, i)
		}
	}
	var got []uint32
	last := int64(-1)
	for c := r.wheel.due(&r.conns, now); c != nil; c = r.wheel.due(&r.conns, now) {
		at, ok := r.naive[c.index]
		if !ok {
			r.t.Fatalf("conn %d is asked twice, or unasked for", c.index)
		}
		if at < last {
			r.t.Fatalf("tick %d comes after %d", at, last)
		}
		last = at
		got = append(got, c.index)
		asked = append(asked, c)
		delete(r.naive, c.index)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		r.t.Fatalf("at %v asked %v, want %v", time.Duration(now), got, want)
	}
	r.agree()
	return asked
}

// agree compares what can be seen from outside.
func (r *wheelRig) agree() {
	r.t.Helper()
	if r.count != len(r.naive) {
		r.t.Fatalf("%d timers, want %d", r.count, len(r.naive))
	}
	want := netio.Time(1<<63 - 1)
	if at, ok := r.naive.first(); ok {
		want = netio.Time(at * int64(tick))
	}
	if got := r.deadline(); got != want {
		r.t.Fatalf("deadline %v, want %v", time.Duration(got), time.Duration(want))
	}
}

// Any order of setting, taking out and turning gives what the list gives.
func TestWheelAgainstList(t *testing.T) {
	t.Parallel()
	horizon := wheelSlots * tick
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 1))
		r := newWheelRig(t, 300)
		for range 3000 {
			c := r.conn(random.IntN(300))
			switch random.IntN(8) {
			case 0:
				r.unset(c)
			case 1: // due long ago
				r.set(c, r.now-netio.Time(random.Int64N(int64(r.now)+1)))
			case 2: // beyond the horizon
				r.set(c, r.now.Add(horizon+time.Duration(random.Int64N(int64(horizon)))))
			case 3: // close together
				r.set(c, r.now.Add(time.Duration(random.Int64N(int64(3*tick)))))
			case 4, 5:
				r.set(c, r.now.Add(time.Duration(random.Int64N(int64(horizon)))))
			case 6: // exactly on a tick
				r.set(c, netio.Time((int64(r.now)/int64(tick)+random.Int64N(100))*int64(tick)))
			case 7:
				step := time.Duration(random.Int64N(int64(4 * tick)))
				if random.IntN(20) == 0 {
					step = time.Duration(random.Int64N(int64(3 * horizon)))
				}
				r.turn(r.now.Add(step))
			}
			r.agree()
		}
	}
}

// A loop that sleeps until the deadline asks each conn when it is due, at most one tick late, and never early, except
// to look at what is beyond the horizon.
func TestWheelInTime(t *testing.T) {
	t.Parallel()
	horizon := (wheelSlots - 1) * tick
	random := rand.New(rand.NewPCG(2, 2))
	r := newWheelRig(t, 200)
	r.turn(netio.Time(3 * time.Hour)) // the engine is not new
	wait := func() time.Duration {
		if random.IntN(5) == 0 {
			return horizon + time.Duration(random.Int64N(int64(5*horizon)))
		}
		return time.Duration(1 + random.Int64N(int64(horizon)-int64(tick)))
	}
	armed := map[uint32]netio.Time{}
	arm := func(c *conn, due netio.Time) {
		armed[c.index] = r.now
		r.set(c, due)
	}
	for i := range 200 {
		arm(r.conn(i), r.now.Add(wait()))
	}
	asked, early := 0, 0
	for asked < 5000 {
		for _, c := range r.turn(r.deadline()) {
			due := r.due[c.index]
			if r.now < due {
				if due.Sub(armed[c.index]) < horizon-tick {
					t.Fatalf("conn %d is asked %v early", c.index, due.Sub(r.now))
				}
				early++
				arm(c, due) // as the loop does
				continue
			}
			if late := r.now.Sub(due); late >= tick {
				t.Fatalf("conn %d is asked %v late", c.index, late)
			}
			asked++
			arm(c, r.now.Add(wait()))
		}
	}
	if early == 0 {
		t.Error("nothing beyond the horizon was looked at")
	}
}

// A conn that is due within the horizon is never asked early.
func TestWheelNeverEarly(t *testing.T) {
	t.Parallel()
	for _, start := range []netio.Time{0, 1, netio.Time(tick) - 1, netio.Time(tick), netio.Time(time.Hour) + 7} {
		for _, wait := range []time.Duration{1, tick - 1, tick, tick + 1, 100 * time.Millisecond, 65 * time.Second} {
			r := newWheelRig(t, 1)
			r.turn(start)
			due := start.Add(wait)
			r.set(r.conn(0), due)
			if c := r.turn(due - 1); c != nil {
				t.Errorf("start %v, wait %v: asked early", time.Duration(start), wait)
				continue
			}
			if at := r.deadline(); at < due || at >= due.Add(tick) {
				t.Errorf("start %v, wait %v: deadline %v after it is due", time.Duration(start), wait, at.Sub(due))
			}
			if c := r.turn(due.Add(tick - 1)); c == nil {
				t.Errorf("start %v, wait %v: not asked a tick later", time.Duration(start), wait)
			}
		}
	}
}

// What is due already is asked at the next turn, once.
func TestWheelPast(t *testing.T) {
	t.Parallel()
	r := newWheelRig(t, 1)
	r.turn(netio.Time(time.Minute))
	r.set(r.conn(0), 0)
	if c := r.turn(r.now); c != nil {
		t.Error("asked in a tick that has run: an expiry that sets what is past would never end")
	}
	if c := r.turn(r.now.Add(tick)); len(c) != 1 {
		t.Error("not asked a tick later")
	}
}

// A conn that is set again while conns are being asked comes in a later turn.
func TestWheelRearmWhileAsked(t *testing.T) {
	t.Parallel()
	r := newWheelRig(t, 8)
	now := netio.Time(time.Second)
	for i := range 8 {
		r.wheel.set(&r.conns, r.conn(i), now)
	}
	asked := 0
	for c := r.wheel.due(&r.conns, now.Add(tick)); c != nil; c = r.wheel.due(&r.conns, now.Add(tick)) {
		if asked++; asked > 8 {
			t.Fatal("a conn is asked twice in a turn")
		}
		r.wheel.set(&r.conns, c, now.Add(tick+1))
	}
	if asked != 8 || r.count != 8 {
		t.Errorf("%d asked, %d set again", asked, r.count)
	}
}

// Taking out works at every place of a slot's list, and twice.
func TestWheelUnsetAnywhere(t *testing.T) {
	t.Parallel()
	for _, order := range [][]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}} {
		r := newWheelRig(t, 3)
		for i := range 3 {
			r.set(r.conn(i), netio.Time(tick))
		}
		for _, i := range order {
			r.unset(r.conn(i))
			r.unset(r.conn(i))
			r.agree()
		}
		if r.used != [wheelSlots / 64]uint64{} {
			t.Errorf("order %v: a slot counts as used", order)
		}
		r.set(r.conn(order[1]), netio.Time(tick))
		if c := r.turn(netio.Time(tick)); len(c) != 1 || c[0] != r.conn(order[1]) {
			t.Errorf("order %v: then asked %v", order, c)
		}
	}
}

// Setting again moves, to an earlier or a later time.
func TestWheelMoves(t *testing.T) {
	t.Parallel()
	r := newWheelRig(t, 2)
	r.set(r.conn(0), netio.Time(time.Minute))
	r.set(r.conn(1), netio.Time(time.Second))
	r.set(r.conn(0), netio.Time(time.Second)) // earlier, beside another
	r.set(r.conn(1), netio.Time(time.Minute)) // later
	if c := r.turn(netio.Time(2 * time.Second)); len(c) != 1 || c[0].index != 0 {
		t.Errorf("asked %v", c)
	}
	if c := r.turn(netio.Time(time.Minute).Add(tick)); len(c) != 1 || c[0].index != 1 {
		t.Errorf("asked %v", c)
	}
}

// The gap is found in every slot, whichever comes first.
func TestWheelGap(t *testing.T) {
	t.Parallel()
	for _, start := range []int64{0, 1, 63, 64, 65, wheelSlots - 1, wheelSlots, 3*wheelSlots + 77} {
		for _, step := range []int64{0, 1, 62, 63, 64, 65, 128, wheelSlots / 2, wheelSlots - 2, wheelSlots - 1} {
			r := newWheelRig(t, 1)
			r.next = start
			if _, ok := r.gap(); ok {
				t.Error("an empty wheel has a gap")
			}
			r.wheel.set(&r.conns, r.conn(0), netio.Time((start+step)*int64(tick)))
			if got, ok := r.gap(); !ok || got != step {
				t.Errorf("from %d: gap %d, want %d", start, got, step)
			}
		}
	}
}

func TestWheelNoAllocs(t *testing.T) {
	r := newWheelRig(t, 16)
	now := netio.Time(0)
	if n := testing.AllocsPerRun(1000, func() {
		now = now.Add(tick)
		for i := range 16 {
			r.wheel.set(&r.conns, r.conn(i), now.Add(time.Duration(i)*tick))
		}
		for r.wheel.due(&r.conns, now) != nil {
			continue
		}
		r.deadline()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkWheelSet(b *testing.B) {
	const n = 100_000
	w, cs := newWheel(), conns{}
	for range n {
		cs.take()
	}
	b.ReportAllocs()
	i := uint32(0)
	for b.Loop() {
		i = (i*1664525 + 1013904223) % n
		w.set(&cs, cs.at(i), netio.Time(i)*netio.Time(time.Millisecond)/2)
	}
}

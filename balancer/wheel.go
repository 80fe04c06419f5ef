//go:build linux

package balancer

import (
	"math/bits"
	"time"

	"homing/balancer/internal/netio"
)

const (
	// tick is the wheel's resolution: a deadline is met at most this much late. The shortest that users set are
	// fractions of a second.
	tick = 16 * time.Millisecond
	// wheelSlots times tick is 65 s. What is due later waits in the last slot and is looked at once a turn.
	wheelSlots = 4096
)

// none ends a list of conns and names no conn.
const none = ^uint32(0)

// timer is a conn's place in the wheel.
type timer struct {
	next, prev uint32 // conns; prev is none at a slot's head
	slot       int32  // -1: not in the wheel
}

// wheel is a timer wheel with one entry per conn and no allocation. A later deadline needs no call: the entry comes
// round, and the conn is asked again.
//
// It holds indices only; the loop lends its conns to each call.
type wheel struct {
	heads [wheelSlots]uint32
	used  [wheelSlots / 64]uint64 // bit per slot that is not empty
	next  int64                   // the first tick not yet run
	count int
}

func newWheel() *wheel {
	w := &wheel{}
	for i := range w.heads {
		w.heads[i] = none
	}
	return w
}

// tickOf rounds up, so that a conn is never asked before it is due.
func tickOf(t netio.Time) int64 { return (int64(t) + int64(tick) - 1) / int64(tick) }

// set puts the conn's timer at due, from wherever it was.
func (w *wheel) set(cs *conns, c *conn, due netio.Time) {
	w.unset(cs, c)
	at := min(max(tickOf(due), w.next), w.next+wheelSlots-1)
	slot := int32(at % wheelSlots)
	head := w.heads[slot]
	c.timer = timer{next: head, prev: none, slot: slot}
	if head != none {
		cs.at(head).timer.prev = c.index
	}
	w.heads[slot] = c.index
	w.used[slot/64] |= 1 << (slot % 64)
	w.count++
}

// unset takes the conn's timer out, if it is in.
func (w *wheel) unset(cs *conns, c *conn) {
	t := c.timer
	if t.slot < 0 {
		return
	}
	if t.next != none {
		cs.at(t.next).timer.prev = t.prev
	}
	if t.prev != none {
		cs.at(t.prev).timer.next = t.next
	} else {
		w.heads[t.slot] = t.next
		if t.next == none {
			w.used[t.slot/64] &^= 1 << (t.slot % 64)
		}
	}
	c.timer.slot = -1
	w.count--
}

// due takes out one conn whose slot has come, or returns nil when there is none at now.
func (w *wheel) due(cs *conns, now netio.Time) *conn {
	for last := int64(now) / int64(tick); w.next <= last; {
		head := w.heads[w.next%wheelSlots]
		if head != none {
			c := cs.at(head)
			w.unset(cs, c)
			return c
		}
		step, ok := w.gap()
		if !ok {
			w.next = last + 1
			break
		}
		w.next = min(w.next+max(step, 1), last+1)
	}
	return nil
}

// deadline is when the next slot that is not empty comes; far away when all are.
func (w *wheel) deadline() netio.Time {
	step, ok := w.gap()
	if !ok {
		return 1<<63 - 1
	}
	return netio.Time((w.next + step) * int64(tick))
}

// gap is the number of ticks from next to the first slot in use.
func (w *wheel) gap() (int64, bool) {
	if w.count == 0 {
		return 0, false
	}
	start := w.next % wheelSlots
	word := start / 64
	if b := w.used[word] >> (start % 64); b != 0 {
		return int64(bits.TrailingZeros64(b)), true
	}
	for i := int64(1); i <= wheelSlots/64; i++ {
		j := (word + i) % (wheelSlots / 64)
		if b := w.used[j]; b != 0 {
			at := j*64 + int64(bits.TrailingZeros64(b))
			return (at - start + wheelSlots) % wheelSlots, true
		}
	}
	return 0, false
}

package replica

import (
	"context"
	"time"

	"homing/balancer/affinity"
)

const (
	// resyncWindow is how many parts may be on their way: 512 kB. It paces a resync by what the peer has merged, and
	// bounds what a new fact can find in front of it.
	resyncWindow = 32

	// fairShare: with a resync under way, one batch in so many is a part of it, however many new facts there are. Else
	// they would keep a slow peer from ever being whole.
	fairShare = 16
)

// send sends what there is, new facts first, until the stream ends.
func (s *stream) send(ctx context.Context) error {
	t := s.r.cfg.times
	timer := time.NewTimer(t.beat)
	defer timer.Stop()
	beat := time.Now().Add(t.beat)
	for {
		now := time.Now()
		dead := now.After(beat)
		if dead {
			s.unstick()
		}
		s.sendNew()
		s.sendPart(now)
		s.appendAck(now, dead)
		if len(s.out) > 0 {
			err := s.write(s.out)
			s.out = s.out[:0]
			if err != nil {
				return ending(err)
			}
			beat = now.Add(t.beat)
			continue
		}
		s.waker.park(ctx, timer, s.next(beat), s.ready)
		if ctx.Err() != nil {
			return errEnded
		}
	}
}

func (s *stream) write(b []byte) error {
	n, err := write(s.conn, b, s.r.cfg.times.write)
	if s.peer != nil {
		s.peer.bytesOut.Add(uint64(n))
	}
	return err
}

// skip tells the peer that it misses all up to now, and will get the whole table.
func (s *stream) skip() {
	s.cursor = s.ring.head.Load()
	s.out = appendNumbers(s.out, frameResync, s.cursor)
	s.resync.due = true
	s.sending.Store(true)
}

// sendNew appends the new facts that are ready.
func (s *stream) sendNew() {
	n, lost := s.appendNew()
	switch {
	case lost:
		s.peer.missed.Add(1)
		s.skip()
	case n > 0:
		s.peer.factsOut.Add(uint64(n))
		s.rounds++
	}
}

// sendPart appends the next part of a resync, if it is its turn.
func (s *stream) sendPart(now time.Time) {
	x := &s.resync
	if x.due && !x.active && !now.Before(x.earliest) {
		x.due, x.active, s.export = false, true, affinity.Cursor{}
		x.earliest = now.Add(s.r.cfg.times.resync)
		s.peer.resyncs.Add(1)
	}
	if !x.active || !s.window() || len(s.out) > 0 && s.rounds < fairShare {
		return
	}
	s.rounds = 0
	s.peer.factsOut.Add(uint64(s.appendPart(uint32(s.r.now().Unix()))))
	if !s.export.Done() {
		return
	}
	x.active = false
	if !x.due { // else facts were missed meanwhile, and another one follows
		s.out = appendNumbers(s.out, frameDone, s.parts)
		s.sending.Store(false)
	}
}

// window reports whether another part may go on its way.
func (s *stream) window() bool { return s.parts-s.ackedParts.Load() < resyncWindow }

// appendAck acknowledges what has been merged: with what goes anyway, else after a moment in which more may come, and
// as a sign of life.
func (s *stream) appendAck(now time.Time, dead bool) {
	got, parts := s.got.Load(), s.gotParts.Load()
	if got == s.ack.seq && parts == s.ack.parts && !dead {
		return
	}
	if s.ack.due.IsZero() {
		s.ack.due = now.Add(s.r.cfg.times.ack)
	}
	if len(s.out) == 0 && !dead && now.Before(s.ack.due) && parts-s.ack.parts < resyncWindow/2 {
		return
	}
	s.out = appendNumbers(s.out, frameAck, got, parts)
	s.ack = acking{seq: got, parts: parts}
}

// unstick skips a fact that has not become readable for a whole beat: two writers a round of the ring apart have spoilt
// its slot.
func (s *stream) unstick() {
	head := s.ring.head.Load()
	if s.cursor == head || s.ring.ready(s.cursor) {
		s.stalled = 0
		return
	}
	if s.stalled == s.cursor+1 {
		s.skip()
	}
	s.stalled = s.cursor + 1
}

// next is when send has something to do if nothing happens.
func (s *stream) next(beat time.Time) time.Time {
	t := beat
	if due := s.ack.due; !due.IsZero() && due.Before(t) {
		t = due
	}
	if s.resync.due && !s.resync.active && s.resync.earliest.Before(t) {
		t = s.resync.earliest
	}
	return t
}

// ready reports whether there is something to send before the next time.
func (s *stream) ready() bool {
	acks := s.ack.due.IsZero() && (s.got.Load() != s.ack.seq || s.gotParts.Load() != s.ack.parts)
	acks = acks || s.gotParts.Load()-s.ack.parts >= resyncWindow/2
	return acks || s.ring.ready(s.cursor) || s.resync.active && s.window()
}

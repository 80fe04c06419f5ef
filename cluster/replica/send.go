package replica

import (
	"context"
	"time"

	"homing/balancer/affinity"
)

const (
	// batchFacts is the most facts of one frame: one TLS record, 16 KiB.
	batchFacts = 960

	// resyncWindow is how many parts may be on their way: 512 kB. It paces a resync by
	// what the peer has merged, and bounds what a new fact can find in front of it.
	resyncWindow = 32

	// fairShare: with a resync under way, one batch in so many is a part of it, however
	// many new facts there are. Else they would keep a slow peer from ever being whole.
	fairShare = 16
)

// sender is the state of a stream's sending half. Owned by send.
type sender struct {
	cursor  uint64 // sequence of the last fact sent
	batch   []affinity.Fact
	out     []byte
	ack     acking
	resync  resync
	rounds  int    // batches of new facts since the last part
	stalled uint64 // cursor at the last beat, if the next fact was not readable then
}

// resync is an export of the whole table to the peer.
type resync struct {
	due      bool // one has to begin: the peer has missed facts, and been told
	active   bool
	sent     uint64 // parts of all resyncs of the stream
	cursor   affinity.Cursor
	earliest time.Time // of the next: one after another, not back to back
}

// acking is what has been acknowledged to the peer.
type acking struct {
	seq, parts uint64
	due        time.Time // of the next; zero: nothing to acknowledge
}

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
		s.appendNew()
		s.appendPart(now)
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
		if err := s.park(ctx, timer, s.next(beat)); err != nil {
			return err
		}
	}
}

func (s *stream) write(b []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.r.cfg.times.write)); err != nil {
		return err
	}
	n, err := s.conn.Write(b)
	if s.peer != nil {
		s.peer.bytesOut.Add(uint64(n))
	}
	return err
}

// skip tells the peer that it misses all up to now, and will get the whole table.
func (s *stream) skip() {
	s.cursor = s.r.ring.head.Load()
	s.out = appendNumbers(s.out, frameResync, s.cursor)
	s.resync.due = true
	s.sending.Store(true)
}

// appendNew appends the new facts that are ready, one batch at most.
func (s *stream) appendNew() {
	facts, lost := s.r.ring.read(s.cursor, s.batch[:0])
	switch {
	case lost:
		s.peer.missed.Add(1)
		s.skip()
	case len(facts) > 0:
		s.out = appendBatch(s.out, frameFacts, s.cursor+1, facts)
		s.cursor += uint64(len(facts))
		s.peer.factsOut.Add(uint64(len(facts)))
		s.rounds++
	}
}

// appendPart appends the next part of a resync, if it is its turn.
func (s *stream) appendPart(now time.Time) {
	x := &s.resync
	if x.due && !x.active && !now.Before(x.earliest) {
		x.due, x.active, x.cursor = false, true, affinity.Cursor{}
		x.earliest = now.Add(s.r.cfg.times.resync)
		s.peer.resyncs.Add(1)
	}
	if !x.active || !s.window() || len(s.out) > 0 && s.rounds < fairShare {
		return
	}
	s.rounds = 0
	facts := s.r.store.Export(&x.cursor, s.batch[:0], uint32(s.r.now().Unix()))
	if len(facts) > 0 {
		x.sent++
		s.out = appendBatch(s.out, framePart, x.sent, facts)
		s.peer.factsOut.Add(uint64(len(facts)))
	}
	if !x.cursor.Done() {
		return
	}
	x.active = false
	if !x.due { // else facts were missed meanwhile, and another one follows
		s.out = appendNumbers(s.out, frameDone, x.sent)
		s.sending.Store(false)
	}
}

// window reports whether another part may go on its way.
func (s *stream) window() bool { return s.resync.sent-s.ackedParts.Load() < resyncWindow }

// appendAck acknowledges what has been merged: with what goes anyway, else after a
// moment in which more may come, and as a sign of life.
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

// unstick skips a fact that has not become readable for a whole beat: two writers
// a round of the ring apart have spoilt its slot.
func (s *stream) unstick() {
	head := s.r.ring.head.Load()
	if s.cursor == head || s.r.ring.ready(s.cursor) {
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

// park waits for that time, or until there is something to send.
func (s *stream) park(ctx context.Context, timer *time.Timer, until time.Time) error {
	s.waker.parked.Store(true)
	defer s.waker.parked.Store(false)
	// Who adds something after this look sees that we are parked.
	acks := s.ack.due.IsZero() && (s.got.Load() != s.ack.seq || s.gotParts.Load() != s.ack.parts)
	acks = acks || s.gotParts.Load()-s.ack.parts >= resyncWindow/2
	if acks || s.r.ring.ready(s.cursor) || s.resync.active && s.window() {
		return nil
	}
	timer.Reset(time.Until(until))
	select {
	case <-ctx.Done():
		return errEnded
	case <-s.waker.ch:
	case <-timer.C:
	}
	return nil
}

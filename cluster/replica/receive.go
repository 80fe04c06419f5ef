package replica

import (
	"context"
	"fmt"
	"math"
	"time"

	"homing/balancer/affinity"
)

// receive merges what the peer sends until the stream ends.
func (s *stream) receive(ctx context.Context) error {
	var facts []affinity.Fact
	for begun := uint64(0); ; begun = s.frames.bytes {
		if err := s.conn.SetReadDeadline(time.Now().Add(s.r.cfg.times.silence)); err != nil {
			return ending(err)
		}
		t, payload, err := s.frames.next()
		if err != nil {
			return ending(err)
		}
		s.peer.bytesIn.Add(s.frames.bytes - begun)
		n, parts, got, err := t.parse(payload, facts[:0])
		facts = got
		if err == nil {
			err = s.take(ctx, t, n, parts, facts)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
}

// take is one frame.
func (s *stream) take(ctx context.Context, t frameType, n, parts uint64, facts []affinity.Fact) error {
	p := s.peer
	switch t {
	case frameFacts:
		if n == 0 || n > p.last+1 {
			return fmt.Errorf("sequence %d after %d", n, p.last)
		}
		if err := s.merge(ctx, facts); err != nil {
			return err
		}
		p.last = max(p.last, n+uint64(len(facts))-1)
		s.got.Store(p.last)
	case frameAck:
		if n > s.ring.head.Load() {
			return fmt.Errorf("sequence %d of %d", n, s.ring.head.Load())
		}
		p.acked.Store(max(n, p.acked.Load()))
		s.ackedParts.Store(parts)
		if s.sending.Load() {
			s.waker.wake() // there may be room for the next part
		}
		return nil
	case frameResync:
		p.last, p.whole = n, false
		s.got.Store(n)
		s.filling.Store(true)
	case framePart:
		if n != s.gotParts.Load()+1 {
			return fmt.Errorf("part %d after %d", n, s.gotParts.Load())
		}
		if err := s.merge(ctx, facts); err != nil {
			return err
		}
		s.gotParts.Store(n)
	case frameDone:
		if n != s.gotParts.Load() {
			return fmt.Errorf("%d parts, %d came", n, s.gotParts.Load())
		}
		p.whole = true
		s.filling.Store(false)
		p.filled.Add(1)
	case frameHello, frameOpen:
		return errForeign
	}
	s.waker.wake() // to acknowledge
	return nil
}

// merge puts facts of the peer into the store, by our clock.
func (s *stream) merge(ctx context.Context, facts []affinity.Fact) error {
	now := uint32(s.r.now().Unix())
	shiftAll(facts, s.skew)
	if s.store.Seed() != s.seed {
		return errEnded // this node has just taken another: adopt hangs up
	}
	news := s.store.Merge(ctx, facts, now)
	s.r.merged.Add(uint64(news))
	s.peer.factsIn.Add(uint64(len(facts)))
	if s.r.cfg.merged != nil {
		s.r.cfg.merged(facts)
	}
	return ctx.Err()
}

// skew is how many seconds our clock is ahead of the peer's. Below two it is the network's doing, and clocks that NTP
// keeps: a shift by one would make expiries creep each time a fact goes back and forth.
func skew(ours time.Time, theirs int64) int64 {
	d := math.Round(float64(ours.UnixNano()-theirs) / float64(time.Second))
	if math.Abs(d) < 2 {
		return 0
	}
	return int64(d)
}

// shift moves a time of the peer's clock to ours.
func shift(t uint32, by int64) uint32 {
	return uint32(min(max(int64(t)+by, 0), math.MaxUint32))
}

// shiftAll is shift for the times of facts.
func shiftAll(facts []affinity.Fact, by int64) {
	if by == 0 {
		return
	}
	for i := range facts {
		facts[i].Time = shift(facts[i].Time, by)
	}
}

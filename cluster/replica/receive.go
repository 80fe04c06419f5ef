package replica

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// receive merges what the peer sends until the stream ends.
func (s *stream) receive(ctx context.Context) error {
	for {
		if err := s.conn.SetReadDeadline(time.Now().Add(s.r.cfg.times.silence)); err != nil {
			return ending(err)
		}
		t, payload, err := s.frames.next()
		if err != nil {
			return ending(err)
		}
		s.peer.bytesIn.Add(s.frames.bytes - s.begun)
		s.begun = s.frames.bytes
		if err := s.take(ctx, t, payload); err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
	}
}

// take is one frame.
func (s *stream) take(ctx context.Context, t frameType, payload []byte) error {
	p := s.peer
	var n, parts uint64
	switch t {
	case frameFacts:
		first, facts, err := parseBatch(payload, s.facts[:0])
		s.facts = facts
		if err != nil {
			return err
		}
		if first == 0 || first > p.last+1 {
			return fmt.Errorf("sequence %d after %d", first, p.last)
		}
		if err := s.merge(ctx); err != nil {
			return err
		}
		p.last = max(p.last, first+uint64(len(facts))-1)
		s.got.Store(p.last)
	case frameAck:
		if err := parseNumbers(payload, &n, &parts); err != nil {
			return err
		}
		if n > s.r.ring.head.Load() {
			return fmt.Errorf("sequence %d of %d", n, s.r.ring.head.Load())
		}
		p.acked.Store(max(n, p.acked.Load()))
		s.ackedParts.Store(parts)
		if s.sending.Load() {
			s.waker.wake() // there may be room for the next part
		}
		return nil
	case frameResync:
		if err := parseNumbers(payload, &n); err != nil {
			return err
		}
		p.last, p.whole = n, false
		s.got.Store(n)
		s.filling.Store(true)
	case framePart:
		part, facts, err := parseBatch(payload, s.facts[:0])
		s.facts = facts
		if err != nil {
			return err
		}
		if part != s.gotParts.Load()+1 {
			return fmt.Errorf("part %d after %d", part, s.gotParts.Load())
		}
		if err := s.merge(ctx); err != nil {
			return err
		}
		s.gotParts.Store(part)
	case frameDone:
		if err := parseNumbers(payload, &parts); err != nil {
			return err
		}
		if parts != s.gotParts.Load() {
			return fmt.Errorf("%d parts, %d came", parts, s.gotParts.Load())
		}
		p.whole = true
		s.filling.Store(false)
		p.filled.Add(1)
	case frameHello, frameOpen:
		return errors.New("in the middle of a stream")
	default:
		return errors.New("unknown to this version")
	}
	s.waker.wake() // to acknowledge
	return nil
}

// merge puts s.facts into the store, by our clock.
func (s *stream) merge(ctx context.Context) error {
	now := uint32(s.r.now().Unix())
	shiftAll(s.facts, s.skew)
	if s.r.store.Seed() != s.seed {
		return errEnded // this node has just taken another: adopt hangs up
	}
	news := s.r.store.Merge(ctx, s.facts, now)
	s.r.merged.Add(uint64(news))
	s.peer.factsIn.Add(uint64(len(s.facts)))
	if s.r.cfg.merged != nil {
		s.r.cfg.merged(s.facts)
	}
	return ctx.Err()
}

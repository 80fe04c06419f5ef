package replica

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"

	"homing/balancer/affinity"
)

// errEnded is the end of a stream that needs no words: the other side closed it, a newer one took its place, or this
// node hung up on purpose.
var errEnded = errors.New("ended")

// stream is one TLS connection with a peer while facts flow, in both directions.
//
//	dialer                              acceptor
//	  TLS 1.3, both show a node key
//	  hello  ──────────────────────►      what of the dialer's it has got up to now
//	         ◄──────────────────────  hello
//	  facts, ack  ◄────────────►  facts, ack        from what the other has got on
//	  resync, part..., done, beside them            if the ring does not reach back there
//
// It runs two goroutines, send and receive; either's error ends both.
type stream struct {
	// Static.
	r     *Replicator
	peer  *peer
	conn  net.Conn
	key   ed25519.PublicKey // the one that the peer showed
	seed  affinity.Seed
	skew  int64 // seconds that our clock is ahead of the peer's
	waker waker

	// Atomic: parts that the peer has acknowledged, set by receive, read by send.
	ackedParts atomic.Uint64
	// Atomic: what is to be acknowledged, set by receive, read by send.
	got, gotParts atomic.Uint64
	// Atomic, for state.
	sending, filling atomic.Bool

	// Owned by send.
	sender

	// Owned by receive.
	frames *frameReader
}

// run serves the stream until it breaks, either side hangs up, or ctx is done.
func (s *stream) run(ctx context.Context) error {
	s.r.enlist(s)
	defer s.r.dismiss(s)
	if s.store.Seed() != s.seed || !s.r.credentials.Load().trustsKey(s.key) {
		return errEnded // changed between the hellos and enlist
	}
	s.r.member.Store(true)
	if s.r.quiet.Say(slog.LevelInfo, s.peer.id+" open", "replication stream open", slog.String("peer", s.peer.id), slog.Bool("resync", s.resync.due)) {
		defer func() { s.r.log.Info("replication stream ended", slog.String("peer", s.peer.id)) }()
	}
	ctx, cancel := context.WithCancel(ctx)
	sent := make(chan error, 1)
	go func() {
		err := s.send(ctx)
		s.hangUp()
		cancel()
		sent <- err
	}()
	err := s.receive(ctx)
	s.hangUp()
	cancel()
	if other := <-sent; err == nil || errors.Is(err, errEnded) {
		err = other
	}
	return err
}

// hangUp ends the stream. It may be called by any goroutine, more than once.
func (s *stream) hangUp() { s.conn.(*tls.Conn).NetConn().Close() }

// enlist makes the stream one that learned facts wake.
func (r *Replicator) enlist(s *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := append(append([]*stream(nil), *r.streaming.Load()...), s)
	r.streaming.Store(&all)
	s.peer.stream.Store(s)
	s.peer.streams.Add(1)
}

func (r *Replicator) dismiss(s *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var rest []*stream
	for _, other := range *r.streaming.Load() {
		if other != s {
			rest = append(rest, other)
		}
	}
	r.streaming.Store(&rest)
	s.peer.stream.Store(nil)
}

func (s *stream) state() PeerState {
	if s.sending.Load() || s.filling.Load() {
		return PeerResyncing
	}
	return PeerStreaming
}

// ending is err, or errEnded where it says only that somebody hung up.
func ending(err error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) {
		return errEnded
	}
	return err
}

package replica

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"time"

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

// hangUp ends the stream. It may be called by any goroutine, more than once.
func (s *stream) hangUp() { s.conn.(*tls.Conn).NetConn().Close() }

// enlist makes the stream one that learned facts wake.
func (r *Replicator) enlist(s *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := append(slices.Clone(*r.streaming.Load()), s)
	r.streaming.Store(&all)
	s.peer.stream.Store(s)
	s.peer.streams.Add(1)
}

func (r *Replicator) dismiss(s *stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(*r.streaming.Load()), func(other *stream) bool { return other == s })
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

// sender is the state of a stream's sending half. Owned by send.
type sender struct {
	outbox
	ack     acking
	resync  resync
	rounds  int    // batches of new facts since the last part
	stalled uint64 // cursor at the last beat, if the next fact was not readable then
}

// resync is an export of the whole table to the peer.
type resync struct {
	due      bool // one has to begin: the peer has missed facts, and been told
	active   bool
	earliest time.Time // of the next: one after another, not back to back
}

// acking is what has been acknowledged to the peer.
type acking struct {
	seq, parts uint64
	due        time.Time // of the next; zero: nothing to acknowledge
}

// PeerState says how far replication with a peer is.
type PeerState uint8

// The states.
const (
	PeerLost      PeerState = iota // there is no stream; dialled again, forever
	PeerResyncing                  // new facts flow, and the whole table beside them, in one direction or both
	PeerStreaming                  // new facts flow
)

// String is the word in logs and metrics.
func (s PeerState) String() string { return [...]string{"lost", "resyncing", "streaming"}[s] }

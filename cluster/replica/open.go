package replica

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"homing/balancer/affinity"
	"homing/cluster/bound"
)

// dial opens a stream to the peer and serves it to its end. opened says that it got past the hellos.
func (r *Replicator) dial(ctx context.Context, addr string, p *peer) (opened bool, err error) {
	p.mu.Lock() // until its end: no other stream serves the peer
	defer p.mu.Unlock()
	limit, cancel := context.WithTimeout(ctx, r.patience(p, addr))
	defer cancel()
	var d net.Dialer
	d.Timeout = r.cfg.times.connect
	raw, err := d.DialContext(limit, "tcp", addr)
	if err != nil {
		return false, err
	}
	defer raw.Close()
	defer closeWith(ctx, raw)()
	cfg := r.credentials.Load().config()
	cfg.ServerName = "homing"
	conn := tls.Client(raw, cfg)
	s, err := r.shake(limit, conn, func(s *stream) error {
		ours := r.hello(p)
		if err := s.write(ours.frame()); err != nil {
			return err
		}
		theirs, err := s.readHello()
		if err != nil {
			return err
		}
		if theirs.Node != p.id {
			return fmt.Errorf("node %q answers in its place", theirs.Node)
		}
		s.skew = -theirs.Skew
		return s.agree(limit, p, &ours, &theirs)
	})
	if err != nil {
		return false, err
	}
	r.mu.Lock()
	p.good, p.opened = addr, time.Now()
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		p.opened = time.Now()
		r.mu.Unlock()
	}()
	return true, s.run(ctx)
}

// patience bounds a dial and its handshake: where nobody has shown the node key yet, it holds up others who may be the
// peer.
func (r *Replicator) patience(p *peer, addr string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.good != "" && p.good != addr {
		return r.cfg.times.connect
	}
	return r.cfg.times.handshake
}

// serve serves a stream that another node dialled, whose place at the door is free once it has shown the node key.
func (r *Replicator) serve(ctx context.Context, raw *bound.Guest) error {
	defer raw.Close()
	defer closeWith(ctx, raw)()
	limit, cancel := context.WithTimeout(ctx, r.cfg.times.handshake)
	defer cancel()
	conn := tls.Server(raw, r.credentials.Load().config())
	var p *peer
	s, err := r.shake(limit, conn, func(s *stream) error {
		theirs, err := s.readHello()
		if err != nil {
			return errors.Join(err, s.sayVersion(err))
		}
		if theirs.Node == r.cfg.Node {
			return fmt.Errorf("another node has the ID of this one, %q: give it one of its own", theirs.Node)
		}
		if p = r.peer(theirs.Node); p == nil {
			return fmt.Errorf("more than %d peers", maxPeers)
		}
		// The peer has no more than one stream. That it dials again means that the old one is dead, whatever we think
		// of it.
		if old := p.stream.Load(); old != nil {
			old.hangUp()
		}
		p.mu.Lock()
		s.skew = skew(r.now(), theirs.Wall)
		ours := r.hello(p)
		ours.Skew = s.skew
		if err := s.write(ours.frame()); err != nil {
			return err
		}
		return s.agree(limit, p, &ours, &theirs)
	})
	if p != nil {
		defer p.mu.Unlock()
	}
	if err != nil {
		r.refused.Add(1)
		if errors.Is(err, net.ErrClosed) && ctx.Err() == nil {
			return errTurnedOut
		}
		return err
	}
	raw.Leave()
	return s.run(ctx)
}

// shake does the TLS handshake and the hellos, within limit.
func (r *Replicator) shake(limit context.Context, conn *tls.Conn, hellos func(*stream) error) (*stream, error) {
	if deadline, ok := limit.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if err := conn.HandshakeContext(limit); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	s := &stream{
		r: r, conn: conn, key: conn.ConnectionState().PeerCertificates[0].PublicKey.(ed25519.PublicKey),
		waker: newWaker(), frames: newFrameReader(conn), sender: sender{outbox: newOutbox(r.ring, r.store)},
	}
	if err := hellos(s); err != nil {
		return nil, err
	}
	return s, conn.SetDeadline(time.Time{})
}

// hello is what this node says to p, whose mu is held.
func (r *Replicator) hello(p *peer) hello {
	h := hello{helloHead{
		Instance: r.instance.Load(), Wall: r.now().UnixNano(), Seed: r.store.Seed(),
		Standing: r.standing(),
	}, r.cfg.Node}
	if p.whole && p.seed == h.Seed.Value {
		h.LastInstance, h.Last = p.instance, p.last
	}
	return h
}

func (s *stream) readHello() (hello, error) {
	t, payload, err := s.frames.next()
	if err != nil {
		return hello{}, err
	}
	if t != frameHello {
		return hello{}, fmt.Errorf("begins with %s", t)
	}
	return parseHello(payload)
}

// sayVersion lets a peer that speaks another version know ours: it reads the first byte of whatever we send.
func (s *stream) sayVersion(err error) error {
	if !errors.Is(err, errVersion) {
		return nil
	}
	return s.write(appendNumbers(nil, frameDone, 0))
}

// agree decides what follows from the hellos: nothing where the seeds differ, for the node with the younger one takes
// the other's, and both begin again; else from where each sends.
func (s *stream) agree(ctx context.Context, p *peer, ours, theirs *hello) error {
	if ours.Seed.Value != theirs.Seed.Value {
		seed := affinity.Seed{Value: theirs.Seed.Value, Made: shift(theirs.Seed.Made, s.skew)}
		if yields(ours.Standing, theirs.Standing, ours.Seed, seed) {
			return s.r.adopt(ctx, ours.Seed, seed, theirs.Node)
		}
		return errEnded
	}
	s.peer, s.seed = p, ours.Seed
	resumes := theirs.LastInstance == ours.Instance && s.ring.holds(theirs.Last)
	if resumes {
		s.cursor = theirs.Last
		p.resumed.Add(1)
	} else {
		if theirs.LastInstance == ours.Instance {
			p.missed.Add(1)
		}
		s.skip()
	}
	p.acked.Store(s.cursor)
	if p.instance != theirs.Instance || ours.LastInstance != theirs.Instance {
		p.instance, p.last, p.whole, p.seed = theirs.Instance, 0, false, ours.Seed.Value
	}
	s.got.Store(p.last)
	s.ack.seq = p.last
	s.filling.Store(!p.whole)
	return nil
}

// errTurnedOut ends a stream that has given way at the door.
var errTurnedOut = errors.New("too many had not shown a node key yet, it gave way to one that came later")

// run serves the stream until it breaks, either side hangs up, or ctx is done.
func (s *stream) run(ctx context.Context) error {
	s.r.enlist(s)
	defer s.r.dismiss(s)
	if s.store.Seed() != s.seed || !s.r.credentials.Load().trustsKey(s.key) {
		return errEnded // changed between the hellos and enlist
	}
	s.r.member.Store(true)
	if s.r.quiet.Say(slog.LevelInfo, s.peer.id+" open", "replication stream open", slog.String("peer", s.peer.id),
		slog.Bool("resync", s.resync.due)) {
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

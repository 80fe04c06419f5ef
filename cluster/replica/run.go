package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"homing/balancer/affinity"
	"homing/cluster/bound"
)

// Run replicates the store until ctx is done. The store's own Run must be running.
func (r *Replicator) Run(ctx context.Context, store *affinity.Store) {
	r.store = store
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { r.accept(ctx, &group) })
	group.Go(func() {
		<-ctx.Done()
		r.listener.Close()
	})

	lines := time.NewTicker(bound.LogEvery)
	defer lines.Stop()
	dialled := make(map[Peer]context.CancelFunc)
	for {
		select {
		case <-ctx.Done():
			return
		case <-lines.C:
			r.quiet.Sweep()
		case <-r.changed:
			r.reconcile(ctx, dialled, &group)
		}
	}
}

// reconcile dials the peers that are wanted and ours to dial, and those alone.
func (r *Replicator) reconcile(ctx context.Context, dialled map[Peer]context.CancelFunc, group *sync.WaitGroup) {
	r.mu.Lock()
	wanted := make(map[Peer]*peer)
	for _, p := range r.wanted {
		if r.cfg.Node < p.ID {
			wanted[p] = r.peerLocked(p.ID)
		}
	}
	for p := range dialled {
		if one := r.peers[p.ID]; one != nil && one.good == p.Addr &&
			(one.stream.Load() != nil || time.Since(one.opened) < lingerFor) {
			wanted[p] = one
		}
	}
	r.forgetLocked()
	r.mu.Unlock()
	for p, stop := range dialled {
		if wanted[p] == nil {
			stop()
			delete(dialled, p)
		}
	}
	for p, state := range wanted {
		if dialled[p] == nil {
			one, stop := context.WithCancel(ctx)
			dialled[p] = stop
			group.Go(func() { r.dialForever(one, p.Addr, state) })
		}
	}
}

// dialForever keeps a stream to the peer open.
func (r *Replicator) dialForever(ctx context.Context, addr string, p *peer) {
	wait := r.cfg.times.redial
	for {
		opened, err := r.dial(ctx, addr, p)
		if ctx.Err() != nil {
			return
		}
		if opened {
			wait = r.cfg.times.redial
		}
		r.changed.Up() // it may be dialled for old times' sake
		if r.wants(Peer{p.id, addr}) {
			r.complain(p.id, false, "replication stream", err)
		} // else it has left, as far as gossip knows
		if !bound.Pause(ctx, wait/2+rand.N(wait/2+1)) {
			return
		}
		wait = min(2*wait, r.cfg.times.most)
	}
}

// accept serves the streams that other nodes dial.
func (r *Replicator) accept(ctx context.Context, group *sync.WaitGroup) {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			r.complain("", false, "accept a replication stream", err) // out of files, mostly
			bound.Pause(ctx, r.cfg.times.redial)
			continue
		}
		guest := r.door.Enter(conn)
		group.Go(func() {
			err := r.serve(ctx, guest)
			r.complain(hostOf(conn), !r.knows(guest.Addr), "replication stream", err)
		})
	}
}

// complain logs why a stream ended or did not open: of a peer each reason once a minute, of strangers one of all of
// them, or whoever has many addresses would fill the log.
func (r *Replicator) complain(who string, stranger bool, what string, err error) {
	if err == nil || errors.Is(err, errEnded) {
		return
	}
	// Without the ports, which are others each time.
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = fmt.Errorf("%s: %w", op.Op, op.Err)
	}
	kind := what + " of strangers"
	if !stranger {
		kind = who + " " + what + " " + err.Error()
	}
	r.quiet.Say(slog.LevelWarn, kind, what, slog.String("peer", who), slog.Any("error", err))
}

// hostOf is the peer's address without the port, which is another one each time.
func hostOf(conn net.Conn) string {
	host, _, err := net.SplitHostPort(conn.RemoteAddr().String())
	if err != nil {
		return conn.RemoteAddr().String()
	}
	return host
}

//go:build linux

package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"

	"homing/balancer/affinity"
	"homing/cluster/replica"
	"homing/cmd/homing/internal/task"
	"homing/cmd/homing/internal/upgrade"
)

// upgradeAt upgrades at every signal, and whenever requestUpgrade asks, until ctx is done, which breaks one off that is
// under way.
func (s *service) upgradeAt(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case answer := <-s.requests:
			answer <- s.upgradeNow(ctx)
		case <-signals:
			_ = s.upgradeNow(ctx) // the log has it
		}
		select {
		case <-signals:
			s.log.Warn("a signal to upgrade is passed over: it came while an upgrade was under way")
		default:
		}
	}
}

// requestUpgrade is upgradeNow for others. It is refused while an upgrade is under way.
func (s *service) requestUpgrade(context.Context) error {
	answer := make(chan error, 1)
	select {
	case s.requests <- answer:
		return <-answer
	default:
		return upgrade.ErrBusy
	}
}

// upgradeNow starts a new process of this program and lets it take over. The error is one line, and in the log; nothing
// has changed then.
func (s *service) upgradeNow(ctx context.Context) error {
	if s.draining.Load() {
		return errors.New("this process drains: it is not upgraded any more")
	}
	s.changing.Lock() // not in the midst of a reload
	defer s.changing.Unlock()
	s.notify.Reloading("upgrading")
	to := &forwards{s: s}
	err := s.upgrader.Upgrade(ctx, upgrade.Steps{Give: to.give, LetGo: to.letGo})
	if err != nil {
		to.takeBack()
		s.notify.Ready("serving; the last upgrade failed: " + err.Error())
	}
	return err
}

// forwards is how an heir is told what this process still learns.
type forwards struct {
	// Static after give.
	s         *service
	forwarder *replica.Forwarder
	before    *func(affinity.Fact) // who heard of facts before
	stream    *task.Task           // nil before give; when it has ended the heir is told nothing any more

	alone atomic.Bool // there is an heir, and nobody else hears of facts
}

// begin makes the stream, puts the heir's end of it into the parcel, and adds the heir to those who hear of facts.
func (f *forwards) begin(p *upgrade.Parcel) error {
	stream, err := p.AddStream(giveFacts)
	if err != nil {
		return err
	}
	s := f.s
	f.forwarder = replica.NewForwarder()
	f.before = s.facts.to.Load()
	s.facts.set(func(fact affinity.Fact) {
		if f.before != nil {
			(*f.before)(fact)
		}
		f.forwarder.Learned(fact)
	})
	f.stream = task.Start(context.Background(), func(ctx context.Context) {
		err := f.forwarder.Run(ctx, stream, f.s.store, func() int { return int(f.s.balancer.Stats().Open) })
		stream.Close()
		if err != nil && ctx.Err() == nil && f.alone.Load() {
			f.s.log.Warn("the new process is told no more of what this one learns", slog.Any("error", err))
		}
	})
	return nil
}

// give fills the first parcel.
func (f *forwards) give(p *upgrade.Parcel) error {
	s := f.s
	sockets, err := s.balancer.ExportSockets()
	if err != nil {
		return err
	}
	p.AddListeners(sockets)
	tables, err := s.store.ExportTables()
	if err != nil {
		return err
	}
	for _, t := range tables {
		p.Add(giveTable+t.Name, t.FD)
	}
	if err := errors.Join(f.begin(p), p.Write(letterSeed, s.store.Seed()), s.exportPools(p)); err != nil {
		return err
	}
	if admin, ok := s.admin.(syscall.Conn); ok {
		if err := p.AddSocket(giveAdmin, admin); err != nil {
			return err
		}
	}
	for _, lock := range s.locks {
		if err := p.AddLock(lock); err != nil {
			return err
		}
	}
	if s.cluster != nil {
		return s.cluster.give(p)
	}
	return nil
}

// takeBack ends what give has begun, for an heir that failed.
func (f *forwards) takeBack() {
	if f.stream != nil {
		f.s.facts.to.Store(f.before)
		f.stream.Stop()
	}
}

// letGo ends all that only one process can do. The heir serves.
func (f *forwards) letGo(heir upgrade.Heir, p *upgrade.Parcel) {
	s := f.s
	s.draining.Store(true)
	err := s.balancer.Release()
	if s.operators != nil {
		s.operators.Release()
	}
	for _, one := range s.running.Load().pools {
		one.stop()
	}
	s.alone.Stop()
	err = errors.Join(err, s.exportPools(p))
	if s.cluster != nil {
		var keeps []string
		_, wrong := heir.Answer.Read(letterKeeps, &keeps)
		err = errors.Join(err, wrong, s.cluster.letGo(p, keeps))
	}
	s.facts.set(f.forwarder.Learned)
	f.alone.Store(true)
	s.forwards = f
	if err != nil {
		s.log.Warn("upgrade: something stays behind", slog.Any("error", err))
	}
	s.notify.Replaced(heir.PID, fmt.Sprintf("serving; process %d drains", os.Getpid()))
}

//go:build linux

package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/pool"
	"homing/cluster/replica"
	"homing/cmd/homing/internal/config"
	"homing/cmd/homing/internal/task"
	"homing/cmd/homing/internal/upgrade"
)

// What an elder hands over, by name; see package upgrade.
const (
	giveTable       = "table "      // and its name: memory
	giveFacts       = "facts"       // the stream of replica.Follow
	giveAdmin       = "admin"       // listener
	giveGossip      = "gossip"      // listener of tcp
	giveGossipUDP   = "gossip udp"  // socket
	giveReplication = "replication" // listener

	letterSeed        = "seed"        // affinity.Seed
	letterPools       = "pools"       // pool.State by name
	letterNode        = "node"        // ID in the cluster
	letterMembers     = "members"     // cluster.Exported
	letterReplication = "replication" // replica.Progress
	letterKeeps       = "keeps"       // of the heir: names of sockets that it goes on with
)

// succession is a service's part in upgrades: what it took over, and how it hands over.
type succession struct {
	// Static after assemble.
	estate   *upgrade.Estate
	upgrader *upgrade.Upgrader
	notify   *upgrade.Notifier
	locks    []*upgrade.Lock
	held     *replica.Forwarder // what is learned before replication is taken over; nil when nothing is

	facts factSwitch

	// What only one process of a node may do. It ends with the service, or when an heir does it. nil before start;
	// owned by run, and by an upgrade.
	alone *task.Task

	requests chan chan error // of upgrades; never closed
	forwards *forwards       // to the heir, once there is one

	elder elderView
}

// factSwitch sends what affinity learns to whom it concerns at the time. The zero value sends it to nobody.
type factSwitch struct {
	to atomic.Pointer[func(affinity.Fact)]
}

// Learned is affinity.Config.Fact.
func (f *factSwitch) Learned(fact affinity.Fact) {
	if to := f.to.Load(); to != nil {
		(*to)(fact)
	}
}

// set sends to one, or to nobody.
func (f *factSwitch) set(to func(affinity.Fact)) {
	if to == nil {
		f.to.Store(nil)
		return
	}
	f.to.Store(&to)
}

// elderView is what is known of the process that this one took over from.
type elderView struct {
	ended chan struct{} // closed when it has ended, or there was none

	pid   atomic.Int64 // 0: there is none, or it has ended
	conns atomic.Uint64
}

// viewElder says which older process still drains, and how many conns it has.
func (s *succession) viewElder() (pid int, conns uint64, ok bool) {
	pid = int(s.elder.pid.Load())
	return pid, s.elder.conns.Load(), pid != 0
}

// newSuccession is for a service that was started with that.
func newSuccession(estate *upgrade.Estate, c *config.Config, version string, log *slog.Logger,
	said io.Writer,
) (*succession, error) {
	command, err := upgrade.Self()
	if err != nil {
		return nil, err
	}
	x := &succession{
		estate: estate, notify: upgrade.NewNotifier(log), requests: make(chan chan error),
		elder: elderView{ended: make(chan struct{})},
		upgrader: upgrade.NewUpgrader(upgrade.Config{
			Command: command, Version: version, Timeout: c.Timeouts.Upgrade, Log: log, Said: said,
		}),
	}
	if estate.Elder == 0 {
		close(x.elder.ended)
	}
	return x, nil
}

// lock keeps other processes from the directories that this one writes to.
func (s *succession) lock(c *config.Config) error {
	for _, d := range []struct{ flag, dir string }{{"--state-dir", c.StateDir}, {"--table-dir", c.Tables.Dir}} {
		if d.dir == "" {
			continue
		}
		lock, err := s.estate.Lock(d.dir)
		if err != nil {
			return fmt.Errorf("%s %s: %w", d.flag, d.dir, err)
		}
		s.locks = append(s.locks, lock)
	}
	return nil
}

// unlock gives the directories back.
func (s *succession) unlock() {
	if s == nil {
		return
	}
	for _, lock := range s.locks {
		lock.Close()
	}
}

// importSockets is the listening sockets that this process was given.
func (s *succession) importSockets(listeners []balancer.Listener) []balancer.ExportedSocket {
	var addresses []string
	for _, l := range listeners {
		addresses = append(addresses, l.Addr)
	}
	return s.estate.Sockets(addresses)
}

// importTables makes the store of an heir that of its elder.
func (s *succession) importTables(known *affinity.Config) error {
	if s.estate.Elder == 0 {
		return nil
	}
	var seed affinity.Seed
	if found, err := s.estate.Read(letterSeed, &seed); err != nil || !found {
		return errors.Join(errors.New("the running process hands over no seed: restart instead"), err)
	}
	known.Seed, known.SeedMade = seed.Value, seed.Made
	for _, name := range affinity.TableNames() {
		for _, fd := range s.estate.Take(giveTable + name) {
			known.Import = append(known.Import, affinity.ExportedTable{Name: name, FD: fd})
		}
	}
	return nil
}

// recall brings the store to what was known, and returns when this process is to take conns. On an error nobody has
// seen anything of it.
func (s *service) recall(ctx context.Context) error {
	if s.estate.Elder == 0 {
		if s.state != nil { // before the first conn is looked at
			s.state.Load(ctx, s.store)
		}
		return nil
	}
	var answer upgrade.Parcel
	err := s.followElder(ctx)
	if err == nil {
		err = s.importPools(&s.estate.Parcel)
	}
	if err == nil && s.cluster != nil {
		err = errors.Join(s.cluster.prime(&s.estate.Parcel), answer.Write(letterKeeps, s.cluster.keeps()))
	}
	if err != nil {
		return s.estate.Fail(err)
	}
	return s.estate.Ready(ctx, &answer)
}

// followElder merges what the elder sends, and returns when all that it knew is there.
func (s *service) followElder(ctx context.Context) error {
	stream, err := s.estate.Stream(giveFacts)
	if err != nil {
		return fmt.Errorf("the facts of the running process: %w", err)
	}
	elder := &s.elder
	elder.pid.Store(int64(s.estate.Elder))
	whole, ended := make(chan struct{}), make(chan error, 1)
	s.background.Go(func() {
		err := replica.Follow(ctx, stream, replica.FollowConfig{
			Store: s.store, Tables: !s.store.Imported(), Learned: s.facts.Learned,
			Whole: func() { close(whole) }, Open: s.elderOpen,
		})
		pid := elder.pid.Swap(0)
		s.notify.Status("serving")
		if err != nil {
			s.log.Warn("the older process is heard no more", slog.Int64("pid", pid), slog.Any("error", err))
		} else {
			s.log.Info("the older process has ended", slog.Int64("pid", pid))
		}
		close(elder.ended)
		ended <- err
	})
	select {
	case <-whole:
		return nil
	case err := <-ended:
		return errors.Join(errors.New("the running process ended, or says nothing of what it knows"), err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *service) elderOpen(conns uint64) {
	if s.elder.conns.Swap(conns) != conns {
		s.notify.Status(fmt.Sprintf("serving; process %d drains, conns open: %d", s.elder.pid.Load(), conns))
	}
}

// importPools does to the backends what they had in the elder.
func (s *service) importPools(from *upgrade.Parcel) error {
	states := make(map[string]pool.State)
	if _, err := from.Read(letterPools, &states); err != nil {
		return err
	}
	for _, p := range s.running.Load().pools {
		if state, ok := states[p.Name()]; ok {
			p.Import(state)
		}
	}
	return nil
}

// exportPools is for importPools.
func (s *service) exportPools(to *upgrade.Parcel) error {
	states := make(map[string]pool.State)
	for _, p := range s.running.Load().pools {
		states[p.Name()] = p.Export()
	}
	return to.Write(letterPools, states)
}

// startAlone takes over what only one process of the node may do, as soon as an elder has let go of it, and tells
// systemd that this is the process to look after.
func (s *service) startAlone(ctx context.Context) {
	rest := s.estate.Serving(ctx, s.log)
	err := s.importPools(rest)
	if s.cluster != nil {
		err = errors.Join(err, s.cluster.takeOver(ctx, s, rest))
	}
	rest.Close()
	if err != nil { // it serves: what it could not take over it learns anew
		s.log.Warn("upgrade: something was lost on the way", slog.Any("error", err))
	}
	s.serveAdmin(ctx) // beside, for it goes on answering what it was asked while it hands over
	var alone []func(context.Context)
	if s.state != nil {
		alone = append(alone, func(ctx context.Context) { s.state.Run(ctx, s.store) })
	}
	if s.cluster != nil {
		alone = append(alone, s.cluster.start(s.store)...)
	}
	if every := upgrade.Watchdog(s.log); every > 0 {
		alone = append(alone, func(ctx context.Context) { s.notify.Watch(ctx, every, s.balancer.Sync) })
	}
	for _, name := range s.estate.Unused() {
		s.log.Warn("a socket is not used: nothing listens at its address by this configuration",
			slog.String("socket", name))
	}
	s.alone = task.Start(ctx, alone...)
	s.estate.Done()
	if s.estate.Elder == 0 {
		s.notify.Ready("serving") // an heir's elder has said so
	}
}

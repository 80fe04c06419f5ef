//go:build linux

package balancer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"homing/balancer/internal/netio"
	"homing/balancer/netaddr"
	"homing/balancer/pool"
)

// Balancer relays the connections of its listeners. New binds, Run moves bytes, Reload changes the configuration
// meanwhile, Shutdown ends in order.
type Balancer struct {
	// Static after New.
	engine    netio.Choice
	newEngine func(bufferMemory int64) (netio.Engine, error) // for a loop
	loops     []*loop
	records   chan record
	done      chan struct{} // closed when the loops have ended

	// Set once, under reloading, before any loop needs it.
	networks *networks

	// reloading is held by whoever begins, reloads or releases, one at a time, and taken before mu. It guards leaving
	// and followed.
	reloading sync.Mutex
	leaving   []*endpoint         // removed and perhaps not closed yet
	followed  map[*pool.Pool]bool // see followDowns

	// Guarded by mu.
	mu        sync.Mutex
	stage     stage
	set       *settings
	endpoints []*endpoint // by listener of set
}

// stage is what a Balancer is at.
type stage uint8

const (
	stageMade     stage = iota // New has returned
	stageRunning               // Run was called
	stageReleased              // running, without listening
	stageEnding                // Shutdown was called, or a loop has failed
	stageEnded                 // nothing is left
)

// New checks the configuration and binds every listener, or none. A failure to bind is a *ListenError. Descriptors in
// Config.Sockets are New's from then on, also on an error. A Balancer that was made is to be run, or to be closed.
func New(cfg Config) (*Balancer, error) { return newOn(nil, cfg) }

// newOn is New with engines of another kind than the kernel's; nil: those.
func newOn(engine func(bufferMemory int64) (netio.Engine, error), cfg Config) (*Balancer, error) {
	found, err := newImported(cfg.Import)
	if err != nil {
		return nil, err
	}
	set, err := newSettings(cfg)
	if err != nil {
		return nil, errors.Join(err, found.close())
	}
	b := &Balancer{
		newEngine: engine, records: make(chan record, recordQueue), done: make(chan struct{}),
		set: set, followed: map[*pool.Pool]bool{},
	}
	b.countNetworks()
	if err := b.open(found); err != nil {
		for _, l := range b.loops {
			l.shut()
		}
		b.removeFiles(false)
		return nil, err
	}
	return b, nil
}

// open makes the loops and their listeners. Inherited sockets are used or closed.
func (b *Balancer) open(found imported) error {
	if b.newEngine == nil {
		if err := b.chooseEngine(); err != nil {
			return errors.Join(err, found.close())
		}
	}
	for i := range b.set.cfg.Loops {
		l, err := newLoop(b, i)
		if err != nil {
			return errors.Join(err, found.close())
		}
		b.loops = append(b.loops, l)
	}
	endpoints, made, err := b.findEndpoints(b.set, found)
	if err != nil {
		return errors.Join(err, closeEndpoints(made))
	}
	b.endpoints = endpoints
	b.followDowns(b.set)
	for i, c := range b.adoptions(b.set, endpoints) {
		err = errors.Join(err, b.loops[i].adopt(c.set, c.gates)) // no thread runs yet
	}
	return err
}

// Addrs are the addresses listened on, in the order of the configuration.
func (b *Balancer) Addrs() []netaddr.Addr {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []netaddr.Addr
	for _, p := range b.endpoints {
		all = append(all, p.bound)
	}
	return all
}

// settings is the present generation.
func (b *Balancer) settings() *settings {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.set
}

// become changes the stage, if it is one of those given, and says whether it was.
func (b *Balancer) become(next stage, from ...stage) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(from, b.stage) {
		return false
	}
	b.stage = next
	return true
}

// Run moves bytes until Shutdown has ended all conns, or until ctx is done, which resets those still open. It may be
// called once; after Shutdown or Close it returns at once.
//
// A loop that fails, for which only a shortage of memory is known as a reason, ends all: a node that serves half of its
// connections would be worse than one that is started again.
func (b *Balancer) Run(ctx context.Context) error {
	if !b.begin() {
		if b.is(stageEnded) {
			return nil
		}
		return errors.New("balancer: Run may be called once")
	}
	defer b.become(stageEnded, stageRunning, stageReleased, stageEnding)
	cfg := &b.settings().cfg
	cfg.Log.Info("engine", "engine", b.engine.Kind.String(), "why", b.engine.Why, "loops", cfg.Loops)
	var logging, running sync.WaitGroup
	logging.Go(func() { runRecords(b.records) })
	errs := make([]error, len(b.loops))
	for i, l := range b.loops {
		running.Go(func() {
			if errs[i] = l.run(); errs[i] != nil {
				errs[i] = fmt.Errorf("balancer: loop %d: %w", i, errs[i])
				b.post(command{kind: commandKill})
				b.settings().cfg.Log.Error("a loop has failed, all conns are reset", "error", errs[i])
			}
		})
	}
	unwatch := context.AfterFunc(ctx, func() { b.post(command{kind: commandKill}) })
	running.Wait()
	unwatch()
	b.removeFiles(true)
	close(b.records)
	logging.Wait()
	close(b.done)
	return errors.Join(errs...)
}

// begin makes a Balancer that was made one that runs, not in the midst of a reload.
func (b *Balancer) begin() bool {
	b.reloading.Lock()
	defer b.reloading.Unlock()
	return b.become(stageRunning, stageMade)
}

// Shutdown stops taking connections, lets the open ones finish until ctx is done, resets the rest, and waits for the
// loops to end. It returns ctx's error if conns had to be reset. Without Run there is nothing to wait for: it closes.
func (b *Balancer) Shutdown(ctx context.Context) error {
	if b.closeUnrun() {
		return nil
	}
	b.drain()
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
	}
	b.post(command{kind: commandKill})
	<-b.done
	return ctx.Err()
}

// drain makes the loops take no more connections. Not in the midst of a reload, which would give them more.
func (b *Balancer) drain() {
	b.reloading.Lock()
	defer b.reloading.Unlock()
	if b.become(stageEnding, stageRunning, stageReleased) {
		b.removeFiles(true)
		b.post(command{kind: commandDrain})
	}
}

// Close ends at once: what is open is reset, and what listens is closed. It is for a Balancer that was made and not
// run; one that runs it ends as a Shutdown without any time.
func (b *Balancer) Close() {
	if b.closeUnrun() {
		return
	}
	b.become(stageEnding, stageRunning, stageReleased)
	b.removeFiles(true)
	b.post(command{kind: commandKill})
	<-b.done
}

// removeFiles removes the files of unix sockets: all, or those that were made here, for what came from another process
// is that one's until this one has run.
func (b *Balancer) removeFiles(all bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.endpoints {
		if all || p.made {
			p.removeFile(b.set.cfg.Log)
		}
	}
}

// closeUnrun ends a Balancer that was never run, and says whether it was one.
func (b *Balancer) closeUnrun() bool {
	b.reloading.Lock() // not in the midst of a reload
	defer b.reloading.Unlock()
	if !b.become(stageEnded, stageMade) {
		return false
	}
	for _, l := range b.loops {
		l.shut()
	}
	b.removeFiles(false)
	close(b.done)
	return true
}

// Sync returns once every loop has finished what it had begun when Sync was called: no decision is under way any more
// that rests on something older. An error is ctx's. Before Run nothing is under way, nor in a loop that has ended, as
// those without conns do in a Shutdown before the others.
func (b *Balancer) Sync(ctx context.Context) error {
	if b.is(stageMade) {
		return nil
	}
	answers := b.ask(func(int) command { return command{kind: commandSync} })
	for range b.loops {
		select {
		case err := <-answers:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (b *Balancer) is(s stage) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stage == s
}

// chooseEngine decides on the engine of all loops. What auto has chosen may still be refused to one, for want of memory
// or descriptors that a ring takes: then it is epoll.
func (b *Balancer) chooseEngine() error {
	cfg := &b.set.cfg
	choice, err := netio.Choose(cfg.Engine)
	if err != nil {
		return err
	}
	b.engine = choice
	b.newEngine = func(bufferMemory int64) (netio.Engine, error) {
		e, err := choice.Open(bufferMemory)
		if err != nil && cfg.Engine == EngineAuto && choice.Kind == EngineUring {
			cfg.Log.Warn("engine refused, using epoll for a loop", "engine", choice.Kind, "error", err)
			e, err = netio.NewEpoll(bufferMemory)
		}
		if err == nil && runtime.GOMAXPROCS(0) <= cfg.Loops {
			e.ParkAtOnce() // what a loop that watches keeps, nobody else would have
		}
		return e, err
	}
	return nil
}

// countNetworks makes the table when the settings are the first that need it.
func (b *Balancer) countNetworks() {
	if limits := &b.set.cfg.Clients; b.networks == nil && (limits.MaxConns > 0 || limits.Rate > 0) {
		b.networks = newNetworks(rand.Uint64())
	}
}

// post hands a command to every loop.
func (b *Balancer) post(c command) {
	for _, l := range b.loops {
		l.post(c)
	}
}

// ask hands every loop a command and returns where each answers once.
func (b *Balancer) ask(of func(loop int) command) <-chan error {
	answers := make(chan error, len(b.loops))
	for i, l := range b.loops {
		c := of(i)
		c.done = answers
		l.post(c)
	}
	return answers
}

// order is ask, and waits for all. It returns the first error.
func (b *Balancer) order(of func(loop int) command) (err error) {
	answers := b.ask(of)
	for range b.loops {
		if e := <-answers; err == nil {
			err = e
		}
	}
	return err
}

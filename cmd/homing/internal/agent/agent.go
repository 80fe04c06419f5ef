// Package agent is `homing agent`: it announces the server beside it to the nodes of a cluster, for as long as that
// answers.
package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"homing/balancer/health"
	"homing/cluster"
	"homing/cmd/homing/internal/logging"
	"homing/cmd/homing/internal/member"
	"homing/cmd/homing/internal/task"
	"homing/cmd/internal/usage"
)

// run is the whole life of an agent.
func run(ctx context.Context, o *options, version string, stderr io.Writer) error {
	if err := o.validate(); err != nil {
		return err
	}
	if o.logFile != "" {
		file, err := os.OpenFile(o.logFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
		if err != nil {
			return fmt.Errorf("--log-file: %w", err)
		}
		defer file.Close()
		queue := logging.NewQueue(file)
		defer queue.Close(logging.FlushTime)
		stderr = queue
	}
	return underControl(func(control <-chan order) error {
		a, err := newAgent(o, version, logging.New(stderr, o.log, o.logLevel).Logger)
		if err != nil {
			return err
		}
		return a.run(ctx, control)
	})
}

// agent announces one backend.
type agent struct {
	// Static after newAgent.
	options    *options
	log        *slog.Logger
	checker    *health.Checker
	membership *cluster.Membership
	keys       *cluster.Keyring // nil without a key

	// Owned by run.
	up, draining bool
	refused      string // what the log knows of nodes that refuse what is announced
	refusedSaid  time.Time
}

func newAgent(o *options, version string, log *slog.Logger) (*agent, error) {
	cfg, err := member.Config(&o.Member, "", version, log)
	if err != nil {
		return nil, err
	}
	cfg.Meta.Role, cfg.Meta.State = cluster.RoleAgent, cluster.StateDown // until a check says otherwise
	cfg.Meta.Announced = cluster.Announcement{
		Pool: o.pool, Backend: o.backend, Weight: uint16(o.weight), Started: time.Now().UnixNano(),
	}
	a := &agent{options: o, log: log, keys: cfg.Keys}
	if a.checker, err = newChecker(o, log); err != nil {
		return nil, err
	}
	if a.membership, err = cluster.Create(cfg); err != nil {
		return nil, member.Explain(&o.Member, err)
	}
	log.Info("agent", slog.String("version", version), slog.String("backend", o.backend.String()),
		slog.String("pool", o.pool), slog.Int("weight", o.weight), slog.String("addr", a.membership.Addr().String()),
		slog.String("id", cfg.ID), slog.Bool("encrypted", cfg.Keys != nil))
	return a, nil
}

// run announces until it is told to stop, or ctx is done. At the end the nodes know that the agent left.
func (a *agent) run(ctx context.Context, control <-chan order) error {
	gossip := task.Start(context.WithoutCancel(ctx), a.membership.Run)
	a.serve(ctx, control)
	gossip.Stop()
	if err := errors.Join(a.membership.Leave(leaveTimeout), a.membership.Shutdown()); err != nil {
		return usage.Failed(err)
	}
	a.log.Info("left")
	return nil
}

// leaveTimeout bounds the wait until the nodes know that the agent left.
const leaveTimeout = 4 * time.Second

// serve checks and announces until it is told to stop, and the drain time is over.
func (a *agent) serve(ctx context.Context, control <-chan order) {
	states := make(chan bool)
	defer task.Start(ctx, func(ctx context.Context) { a.watch(ctx, states) }).Stop()
	files := time.NewTicker(keyFileEvery)
	defer files.Stop()
	watched := a.keyFile()
	var over <-chan time.Time // set when the agent was told to stop
	for {
		select {
		case <-ctx.Done():
			return
		case <-over:
			return
		case a.up = <-states:
			a.announce()
		case <-files.C:
			watched = a.reloadKeys(watched)
			a.sayRefused(a.membership.Refusals())
		case told := <-control:
			a.log.Info("told to " + told.String())
			a.draining = told != orderServe
			if told == orderStop {
				if a.options.drainTime == 0 || over != nil {
					return
				}
				over = time.After(a.options.drainTime)
			}
			a.announce()
		}
	}
}

// announce tells the nodes how the backend is.
func (a *agent) announce() {
	state := cluster.StateDown
	switch {
	case a.up && a.draining:
		state = cluster.StateDraining
	case a.up:
		state = cluster.StateServing
	}
	a.log.Info("announced", slog.String("backend", a.options.backend.String()), slog.String("state", state.String()))
	if err := a.membership.Update(func(m *cluster.Meta) { m.State = state }); err != nil {
		a.log.Error("cannot be announced", slog.Any("error", err))
	}
}

//go:build linux

package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"homing/balancer"
	"homing/balancer/pool"
	"homing/cmd/homing/internal/config"
	"homing/cmd/homing/internal/member"
	"homing/cmd/internal/usage"
)

// errEnding refuses a reload of a process that takes no conns any more.
var errEnding = errors.New("this process is ending: what it would be told concerns the one that follows")

// reloadAt reloads at every signal, until ctx is done. The log has the outcome.
func (s *service) reloadAt(ctx context.Context, hangup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
			_ = s.reload("SIGHUP") // the log has it
		}
	}
}

// reload reads the configuration and the node keys again, resolves names again, and goes on with all of that, or with
// none of it: then it says why. Conns stay, and so does what is known of backends that stay. What open conns have been
// told of timeouts and limits holds until they end. One reload runs at a time; others wait. by is who asked, for the
// log.
func (s *service) reload(by string) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	if s.alive == nil || s.alive.Err() != nil || s.draining.Load() {
		s.log.Error("reload refused, nothing has changed", slog.String("by", by), slog.Any("error", errEnding))
		return errEnding
	}
	s.notify.Reloading("reloading")
	begun, old := time.Now(), s.running.Load()
	next, err := s.replace()
	if err != nil {
		err = s.flags.Word(err)
		s.notify.Ready("serving; the last reload was refused: " + usage.OneLine(err.Error()))
		s.refused()
		s.log.Error("reload refused, nothing has changed", slog.String("by", by), slog.Any("error", err))
		return err
	}
	s.notify.Ready("serving")
	s.applied(next.config)
	changes := "none"
	if list := config.Differences(old.config, next.config); len(list) > 0 {
		changes = strings.Join(list, ", ")
	}
	s.log.Info("reloaded", slog.String("by", by), slog.String("changes", changes), slog.String("config", s.flags.File),
		slog.String("hash", config.Hash(next.config)), slog.Float64("took_seconds", time.Since(begun).Seconds()))
	if changes != "none" {
		s.announceRoutes(next)
	}
	return nil
}

// replace does it. s.changing is held. On an error all is as before: what can fail comes first, and what was made for
// it does not run yet.
func (s *service) replace() (*running, error) {
	c, err := s.flags.Load()
	if err != nil {
		return nil, err
	}
	old := s.running.Load()
	if keys := config.Fixed(old.config, c); len(keys) > 0 {
		return nil,
			fmt.Errorf("%s cannot change while it runs: take that back, restart, or hand over by homing upgrade",
				strings.Join(keys, ", "))
	}
	var nodeKeys [][]byte
	if s.cluster != nil {
		if nodeKeys, err = member.LoadKeys("node-key-file", c.Cluster.NodeKeyFile, s.log); err != nil {
			return nil, err
		}
	}
	next, plans, err := s.prepare(old, c)
	if err != nil {
		return nil, err
	}
	if err = s.balancer.Reload(s.balancerConfig(next)); err != nil {
		return nil, explainListeners(err)
	}
	s.follow(old, next, plans)
	if s.cluster != nil {
		s.cluster.setNodeKeys(nodeKeys)
	}
	return next, nil
}

func explainListeners(err error) error {
	if refused, ok := errors.AsType[*balancer.ListenError](err); ok {
		return explainListen("--listen", refused.Addr, refused.Err)
	}
	return err
}

// prepare makes what a configuration has and old does not, and plans what there is already. Nothing of it runs yet. At
// the start old is nil.
func (s *service) prepare(old *running, c *config.Config) (next *running, plans []*pool.Plan, err error) {
	if err := mayBeTransparent(c); err != nil {
		return nil, nil, err
	}
	var pools []*pooled
	for i := range c.Pools {
		settings := &c.Pools[i]
		p, before := old.named(settings.Name)
		if p == nil {
			fresh, err := pool.New(settings.Name, settings.Backends, s.poolOptions(c, settings))
			if err != nil {
				return nil, nil, err
			}
			p = &pooled{Pool: fresh}
		} else {
			plan, err := p.Plan(settings.Backends, s.poolOptions(c, settings))
			if err != nil {
				return nil, nil, err
			}
			plans = append(plans, plan)
			if config.WatchedAlike(before, settings) && probed(old.config, before) == probed(c, settings) {
				pools = append(pools, p)
				continue
			}
			p = &pooled{Pool: p.Pool, own: p.own}
		}
		if err := s.newWatch(c, settings, p); err != nil {
			return nil, nil, err
		}
		pools = append(pools, p)
	}
	return newRunning(c, pools), plans, nil
}

// follow has the rest go on with what the loops follow already. Nothing here can fail.
func (s *service) follow(old, next *running, plans []*pool.Plan) {
	for _, plan := range plans {
		plan.Apply()
	}
	s.running.Store(next)
	stays := make(map[*pooled]bool)
	lives := make(map[*pool.Pool]bool)
	for _, p := range next.pools {
		stays[p], lives[p.Pool] = true, true
	}
	for _, p := range old.pools {
		switch {
		case stays[p]:
		case lives[p.Pool]:
			p.watch.Stop()
		default:
			p.stop()
		}
	}
	for _, p := range next.pools {
		p.start(s.alive)
	}
	if s.cluster != nil {
		s.cluster.setPools(next)
	}
	s.level.Set(next.config.Log.Level)
}

// applied counts a configuration that holds from now on. s.changing is held.
func (s *service) applied(c *config.Config) {
	next := *s.reloads.Load()
	if !next.Since.IsZero() { // else it is the first
		next.Applied++
	}
	next.Hash, next.Since = config.Hash(c), time.Now()
	s.reloads.Store(&next)
}

// refused counts one that does not. s.changing is held.
func (s *service) refused() {
	next := *s.reloads.Load()
	next.Refused++
	s.reloads.Store(&next)
}

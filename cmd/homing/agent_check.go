package main

import (
	"context"
	"log/slog"

	"homing/balancer/health"
	"homing/balancer/netaddr"
)

// newAgentChecker is what looks at the backend.
func newAgentChecker(o *agentOptions, log *slog.Logger) (*health.Checker, error) {
	check, err := o.question.Check()
	if err != nil {
		return nil, err
	}
	return health.New(nil, health.Config{
		Interval: o.checkInterval, Timeout: o.checkTimeout, Rise: o.rise, Fall: o.fall, Check: check, Log: log,
	})
}

// watch checks the backend until ctx is done, and sends each change; the first that it is up comes with the first
// success. Why it does not answer is logged, from the start, and again when the reason is another one.
func (a *agent) watch(ctx context.Context, states chan<- bool) {
	backend, was := a.options.backend, false
	a.checker.WatchOne(ctx, netaddr.Of(backend), func(up bool, why string) {
		level, text := slog.LevelInfo, "the backend answers"
		if !up {
			level, text = slog.LevelWarn, "the backend does not answer"
		}
		a.log.Log(ctx, level, text, slog.String("backend", backend.String()), slog.String("why", why))
		if up == was {
			return // there is another reason, and nothing to announce
		}
		was = up
		select {
		case states <- up:
		case <-ctx.Done():
		}
	})
}

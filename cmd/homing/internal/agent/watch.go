package agent

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"homing/balancer/health"
	"homing/balancer/netaddr"
	"homing/cluster"
	"homing/cmd/homing/internal/member"
)

// newChecker is what looks at the backend.
func newChecker(o *options, log *slog.Logger) (*health.Checker, error) {
	cfg, err := o.checks.Config(log)
	if err != nil {
		return nil, err
	}
	return health.New(nil, cfg)
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

// keyFileEvery is the pause between two looks at the key file.
const keyFileEvery = 2 * time.Second

// fileMark tells one state of a file from another.
type fileMark struct {
	size  int64
	mtime time.Time
}

func (a *agent) keyFile() fileMark {
	info, err := os.Stat(a.options.GossipKeyFile)
	if err != nil {
		return fileMark{}
	}
	return fileMark{info.Size(), info.ModTime()}
}

// reloadKeys takes over the keys of the file when it is not as before, and gives how it is now. This is how agents
// follow a rotation: they have no node key, so nobody can tell them.
func (a *agent) reloadKeys(before fileMark) fileMark {
	if a.keys == nil {
		return before
	}
	now := a.keyFile()
	if now == before || now == (fileMark{}) {
		return before
	}
	keys, err := member.LoadKeys("gossip-key-file", a.options.GossipKeyFile, a.log)
	if err == nil && !member.SameKeys(keys, a.keys.Keys()) {
		err = a.keys.Replace(keys)
		if err == nil {
			a.log.Info("gossip keys taken over from their file", slog.Int("keys", len(keys)),
				slog.String("in_use", cluster.PrintOf(keys[0]).String()))
			err = a.membership.Update(func(*cluster.Meta) {}) // the prints are new
		}
	}
	if err != nil {
		a.log.Warn("the gossip keys stay as they are", slog.Any("error", err))
	}
	return now
}

// refusedEvery bounds the lines: whoever has the gossip key can change his mind all the time.
const refusedEvery = time.Minute

// sayRefused logs which of the nodes do not take what is announced, and why, when that is news.
func (a *agent) sayRefused(refused []cluster.Refused, nodes int) {
	var names, whys []string
	for _, one := range refused {
		names = append(names, one.Node)
		if len(whys) == 0 || whys[len(whys)-1] != one.Why {
			whys = append(whys, one.Why)
		}
	}
	by, why := strings.Join(names, ", "), strings.Join(whys, "; ")
	now := fmt.Sprintf("%d %s %s", nodes, by, why)
	if len(refused) == 0 {
		now = ""
	}
	if nodes == 0 || now == a.refused || time.Since(a.refusedSaid) < refusedEvery {
		return // with no node there is nothing to be known
	}
	a.refused, a.refusedSaid = now, time.Now()
	attrs := []any{slog.String("backend", a.options.backend.String()), slog.String("pool", a.options.pool)}
	switch len(refused) {
	case 0:
		a.log.Info("no node refuses what is announced any more", attrs...)
	case nodes:
		a.log.Warn("every node refuses what is announced: the backend gets no conns",
			append(attrs, slog.String("by", by), slog.String("why", why))...)
	default:
		a.log.Warn("some nodes refuse what is announced: those send no conns to the backend",
			append(attrs, slog.String("by", by), slog.String("why", why))...)
	}
}

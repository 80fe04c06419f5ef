package main

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"homing/cluster"
)

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
		a.log.Warn("every node refuses what is announced: the backend gets no conns", append(attrs, slog.String("by", by), slog.String("why", why))...)
	default:
		a.log.Warn("some nodes refuse what is announced: those send no conns to the backend", append(attrs, slog.String("by", by), slog.String("why", why))...)
	}
}

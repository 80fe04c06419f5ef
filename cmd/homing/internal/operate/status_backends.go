package operate

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"homing/cmd/homing/internal/api"
)

const (
	// otherWidth is the columns but that of addresses.
	otherWidth = 53

	// addressWidth is the column of addresses where there is no terminal: what the others leave of 80. On one it is
	// what they leave, within bounds: the longest address with a port has 47 characters.
	addressWidth    = 80 - otherWidth
	minAddressWidth = 12
	maxAddressWidth = 47
)

func (p *statusPage) fillBackends() {
	left := p.rows
	bounded := left > 0
	if p.sort != sortName {
		var all []api.Backend
		for _, pool := range p.status.Pools {
			all = append(all, pool.Backends...)
		}
		p.order(all)
		p.add("")
		p.table(all, &left, bounded, len(p.status.Pools) > 1)
		return
	}
	for _, pool := range p.status.Pools {
		p.add("")
		if bounded && left <= 0 {
			p.add("pool %s: %s", pool.Name, count(len(pool.Backends), "backend"))
			continue
		}
		p.add("pool %s, %s: %d of %s live", pool.Name, pool.Policy, pool.Live, count(len(pool.Backends), "backend"))
		p.table(pool.Backends, &left, bounded, false)
	}
}

// order puts the busiest first; equals stay by pool and address.
func (p *statusPage) order(all []api.Backend) {
	slices.SortStableFunc(all, func(a, b api.Backend) int {
		switch p.sort {
		case sortConns:
			return cmp.Or(cmp.Compare(b.ConnsOpen, a.ConnsOpen), cmp.Compare(b.Conns, a.Conns))
		case sortBytes:
			return cmp.Or(cmp.Compare(b.BytesPerSecond, a.BytesPerSecond),
				cmp.Compare(b.BytesIn+b.BytesOut, a.BytesIn+a.BytesOut))
		case sortLost:
			return cmp.Compare(b.Lost, a.Lost)
		case sortName:
		}
		return 0
	})
}

func (p *statusPage) table(backends []api.Backend, left *int, bounded, withPool bool) {
	width := addressWidth
	if p.columns > 0 {
		width = min(max(p.columns-otherWidth, minAddressWidth), maxAddressWidth)
	}
	p.add("%-*s %-9s %6s %6s %6s %6s %7s %6s", width, "BACKEND", "STATE", "OPEN", "CONN/S", "B/S", "CONNS", "RESUMED",
		"LOST")
	for i := range backends {
		if bounded && *left <= 0 {
			p.add("and %d more", len(backends)-i)
			return
		}
		*left--
		one := &backends[i]
		name := one.Address
		if withPool {
			name = one.Pool + " " + name
		}
		p.add("%-*s %-9s %6s %6s %6s %6s %7s %6s", width, fit(name, width), stateWord(one, p.status.Now),
			short(float64(one.ConnsOpen)), short(one.ConnsPerSecond), short(one.BytesPerSecond),
			short(float64(one.Conns)), percent(one.Accepted, one.Accepted+one.Refused), short(float64(one.Lost)))
		p.lines[len(p.lines)-1].backend = true
		if why := whyNotUp(one, p.status.Now); why != "" {
			p.add("  %s", why)
			p.wrap(len(p.lines) - 1)
		}
	}
}

// whyNotUp says since when a backend is not up, and why; "": it is, or nobody knows.
func whyNotUp(b *api.Backend, now time.Time) string {
	if b.Health == "up" || b.HealthWhy == "" {
		return ""
	}
	return fmt.Sprintf("%s for %s: %s", b.Health, shortSpan(now.Sub(b.HealthSince)), b.HealthWhy)
}

// fit cuts a text in the middle: addresses differ at their ends.
func fit(s string, width int) string {
	if len(s) <= width {
		return s
	}
	tail := width/2 + 3
	return s[:width-tail-2] + ".." + s[len(s)-tail:]
}

// stateWord is what matters most of a backend, in at most nine characters.
func stateWord(b *api.Backend, now time.Time) string {
	switch {
	case b.State == "drained":
		return "drained"
	case b.State == "draining" && b.Drain.Mode == "soft" && !b.Drain.Until.IsZero():
		left := max(0, b.Drain.Until.Sub(now))
		switch {
		case left < time.Minute:
			return fmt.Sprintf("drain %ds", int(left.Seconds()))
		case left < 2*time.Hour:
			return fmt.Sprintf("drain %dm", int(left.Minutes()))
		case left < 48*time.Hour:
			return fmt.Sprintf("drain %dh", int(left.Hours()))
		}
		return fmt.Sprintf("drain %dd", int(left.Hours())/24)
	case b.State == "draining":
		return "draining"
	case b.Health == "up" && b.FreshShare > 0 && b.FreshShare < 100: // an older node does not say
		return fmt.Sprintf("slow %d%%", b.FreshShare)
	}
	return b.Health
}

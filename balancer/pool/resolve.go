package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"homing/balancer/netaddr"
)

// wanted is one backend that the specs ask for.
type wanted struct {
	addr     netaddr.Addr
	name     string
	weight   int
	maxConns int

	unchecked bool // it announced itself, and nobody has looked at it yet
}

// lookup is the last answer for one target.
type lookup struct {
	addrs []netaddr.Addr
	ttl   time.Duration // 0: not known
	asked time.Time
	err   error // the name could not be resolved: addrs are those from before
}

const (
	// resolvePause is the least time between two looks at one name.
	resolvePause = time.Second

	// resolveRetry is the time to the next look at a name that could not be resolved: a name server is away for
	// seconds, while it restarts, or for long.
	resolveRetry = 5 * time.Second
)

// refresh resolves the names again that are due, and says when the next one is; 0: there is no name. When nothing at
// all can be resolved everything stays as it is.
func (p *Pool) refresh(ctx context.Context) (wait time.Duration) {
	p.resolving.Lock()
	defer p.resolving.Unlock()
	opt := p.Snapshot().opt
	if first, now := p.firstDue(opt), time.Now(); first.IsZero() {
		return 0
	} else if first.After(now) {
		return first.Sub(now)
	}
	want, warnings, err := p.resolve(ctx, p.targets, opt, time.Now())
	switch {
	case ctx.Err() != nil:
	case err != nil:
		p.warn([]string{err.Error()})
	default:
		p.applyStatic(want, warnings)
	}
	return max(time.Until(p.firstDue(opt)), time.Millisecond)
}

// firstDue is when the first name is to be resolved again; zero: there is no name. p.resolving is held.
func (p *Pool) firstDue(opt *Options) (first time.Time) {
	down := p.downNames()
	for _, t := range p.targets {
		if t.host == "" {
			continue
		}
		if due := p.due(t, opt, down); first.IsZero() || due.Before(first) {
			first = due
		}
	}
	return first
}

// due is when a name is to be resolved again: at the end of its answer's time, and soon while a backend of it is down,
// for then the service may have moved. p.resolving is held.
func (p *Pool) due(t target, opt *Options, down map[string]bool) time.Time {
	last := p.known[t.Addr]
	wait := opt.ResolveEvery
	switch {
	case last.err != nil:
		wait = min(wait, resolveRetry)
	case down[t.Addr]:
		wait = min(wait, resolvePause)
	case last.ttl > 0:
		wait = min(wait, last.ttl)
	}
	return last.asked.Add(max(wait, resolvePause))
}

// downNames are the names of which a backend is down.
func (p *Pool) downNames() map[string]bool {
	down := map[string]bool{}
	for _, b := range p.Snapshot().all {
		if !b.Up() {
			down[b.Name] = true
		}
	}
	return down
}

// resolve expands the targets to backends, sorted by address, each address once. Names that are not due at now keep
// their answer; the zero time asks for all. A name that cannot be resolved keeps the addresses known from before; it is
// a warning while anything is left, else an error. p.resolving is held.
func (p *Pool) resolve(
	ctx context.Context, targets []target, opt *Options, now time.Time,
) (want []wanted, warnings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, opt.ResolveTimeout)
	defer cancel()
	answers := make([]lookup, len(targets))
	down := p.downNames()
	var all sync.WaitGroup // one slow name must not use up the time of the others; all are joined here
	for i, t := range targets {
		last, asked := p.known[t.Addr]
		switch {
		case t.addr.IsValid():
			answers[i].addrs = []netaddr.Addr{t.addr}
		case asked && !now.IsZero() && p.due(t, opt, down).After(now):
			answers[i] = last
		default:
			all.Go(func() { answers[i] = lookupHost(ctx, t, opt, last) })
		}
	}
	all.Wait()

	var failed []string
	for i, t := range targets {
		if err := answers[i].err; err != nil {
			failed = append(failed, fmt.Sprintf("%q (%v)", t.Addr, err))
			warnings = append(warnings,
				fmt.Sprintf("backend %q cannot be resolved (%v), %s", t.Addr, err, instead(len(answers[i].addrs))))
		}
		for _, addr := range answers[i].addrs {
			want = append(want, wanted{addr: addr, name: t.Addr, weight: t.Weight, maxConns: t.MaxConns})
		}
		if t.addr.IsValid() {
			want[len(want)-1].name = t.addr.String()
		} else if ctx.Err() != context.Canceled {
			p.known[t.Addr] = answers[i]
		}
	}
	if len(want) == 0 && !opt.Discover {
		const text = "no backend can be resolved: %s; correct the name, or give IP:PORT"
		return nil, nil, fmt.Errorf(text, strings.Join(failed, ", "))
	}
	want, more := p.distinct(want)
	return want, append(warnings, more...), nil
}

func instead(kept int) string {
	if kept > 0 {
		return fmt.Sprintf("the %d addresses known from before stay", kept)
	}
	return "it is tried again and the other backends are used meanwhile"
}

// lookupHost resolves one name to canonical addresses. Those of last stand for what cannot be asked.
func lookupHost(ctx context.Context, t target, opt *Options, last lookup) lookup {
	answer, err := opt.Resolver(ctx, t.host)
	if err == nil && len(answer.Addrs) == 0 {
		err = errors.New("the name has no addresses")
	}
	l := lookup{ttl: answer.TTL, asked: time.Now(), err: err}
	for _, ip := range answer.Addrs {
		l.addrs = append(l.addrs, netaddr.Of(netip.AddrPortFrom(ip, t.port)))
	}
	if why := cmp.Or(err, answer.Deaf); why != nil {
		answered := l.addrs
		for _, a := range last.addrs {
			family := a.IP().Addr().Is4()
			if !slices.ContainsFunc(answered, func(b netaddr.Addr) bool { return b.IP().Addr().Is4() == family }) {
				l.addrs, l.err = append(l.addrs, a), why
			}
		}
	}
	slices.SortFunc(l.addrs, netaddr.Addr.Compare)
	l.addrs = slices.Compact(l.addrs) // an IPv4 address may have come mapped as well
	return l
}

// distinct sorts by address and keeps one of each address and one of each ID: of specs with the same address the first
// given, of addresses with the same ID the smallest, which is the same one on every node.
func (p *Pool) distinct(want []wanted) (kept []wanted, warnings []string) {
	slices.SortStableFunc(want, func(a, b wanted) int { return a.addr.Compare(b.addr) })
	owners := make(map[ID]netaddr.Addr, len(want))
	for _, w := range want {
		id := p.id(w.addr)
		owner, taken := owners[id]
		switch {
		case taken && owner == w.addr:
			warnings = append(warnings, fmt.Sprintf("backend %s is given more than once, the first counts", w.addr))
		case taken:
			const text = "backend %s is refused: its ID %08x is that of %s; give it another port or address"
			warnings = append(warnings, fmt.Sprintf(text, w.addr, uint32(id), owner))
		case len(kept) == MaxBackends:
			const text = "backend %s is refused: a pool holds at most %d"
			warnings = append(warnings, fmt.Sprintf(text, w.addr, MaxBackends))
		default:
			owners[id] = w.addr
			kept = append(kept, w)
		}
	}
	return kept, warnings
}

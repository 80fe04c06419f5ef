package pool

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"homing/balancer/netaddr"
)

// wanted is one backend that the specs ask for.
type wanted struct {
	addr     netaddr.Addr
	name     string
	weight   int
	maxConns int
}

// lookup is the answer for one target.
type lookup struct {
	addrs []netaddr.Addr
	err   error
}

// resolve expands the targets to backends, sorted by address, each address once. A name that cannot be resolved keeps
// the addresses known from before; it is a warning while anything is left, else an error. p.resolving is held.
func (p *Pool) resolve(ctx context.Context, targets []target, opt *Options) (want []wanted, warnings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, opt.ResolveTimeout)
	defer cancel()
	answers := make([]lookup, len(targets))
	var all sync.WaitGroup // one slow name must not use up the time of the others; all are joined here
	for i, t := range targets {
		if t.addr.IsValid() {
			answers[i].addrs = []netaddr.Addr{t.addr}
			continue
		}
		all.Go(func() { answers[i] = lookupHost(ctx, t, opt.Resolver) })
	}
	all.Wait()

	var failed []string
	for i, t := range targets {
		if answers[i].err != nil {
			answers[i].addrs = p.known[t.Addr]
			failed = append(failed, fmt.Sprintf("%q (%v)", t.Addr, answers[i].err))
			warnings = append(warnings, fmt.Sprintf("backend %q cannot be resolved (%v), %s", t.Addr, answers[i].err,
				instead(len(answers[i].addrs))))
		}
		for _, addr := range answers[i].addrs {
			want = append(want, wanted{addr, t.Addr, t.Weight, t.MaxConns})
		}
		if t.addr.IsValid() {
			want[len(want)-1].name = t.addr.String()
		} else if answers[i].err == nil {
			p.known[t.Addr] = answers[i].addrs
		}
	}
	if len(want) == 0 && !opt.Discover {
		return nil, nil, fmt.Errorf("no backend can be resolved: %s; correct the name, or give IP:PORT", strings.Join(failed, ", "))
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

// lookupHost resolves one name to canonical addresses.
func lookupHost(ctx context.Context, t target, resolver func(context.Context, string) ([]netip.Addr, error)) lookup {
	ips, err := resolver(ctx, t.host)
	if err == nil && len(ips) == 0 {
		err = errors.New("the name has no addresses")
	}
	if err != nil {
		return lookup{err: err}
	}
	addrs := make([]netaddr.Addr, len(ips))
	for i, ip := range ips {
		addrs[i] = netaddr.Of(netip.AddrPortFrom(ip, t.port))
	}
	slices.SortFunc(addrs, netaddr.Addr.Compare)
	return lookup{addrs: slices.Compact(addrs)} // an IPv4 address may have come mapped as well
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
			warnings = append(warnings, fmt.Sprintf("backend %s is refused: its ID %08x is that of %s; give it another port or address",
				w.addr, uint32(id), owner))
		case len(kept) == MaxBackends:
			warnings = append(warnings, fmt.Sprintf("backend %s is refused: a pool holds at most %d", w.addr, MaxBackends))
		default:
			owners[id] = w.addr
			kept = append(kept, w)
		}
	}
	return kept, warnings
}

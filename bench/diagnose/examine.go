package diagnose

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"time"

	"homing/bench/tlscore"
)

// Options says how addresses are examined. The zero value of each field means its default.
type Options struct {
	// Name is sent as SNI to every address, and is what certificates must be for; empty: the name of the target.
	Name string
	// ALPN is the list of protocols offered; empty: none.
	ALPN []string
	// Insecure takes any certificate, as long as the server has its key.
	Insecure bool
	// Roots are the authorities trusted; nil: the system's.
	Roots *x509.CertPool
	// Sources are addresses of this machine to connect from, of one family: all conns come from the first, and the others
	// offer what it was given. Empty: the system chooses one.
	Sources []netip.Addr
	// Tries is the number of offers of each kind, 1 to 100. Default 5.
	Tries int
	// Timeout bounds one conn. Default 5 s.
	Timeout time.Duration
	// Resolver finds addresses. Default: the system's.
	Resolver Resolver
	// Progress, when not nil, is told what is done next.
	Progress func(what string)
}

// Bounds of Options.
const (
	DefaultTries   = 5
	MaxTries       = 100
	DefaultTimeout = 5 * time.Second
)

func (o *Options) fill() error {
	o.Tries, o.Timeout = cmp.Or(o.Tries, DefaultTries), cmp.Or(o.Timeout, DefaultTimeout)
	if o.Resolver == nil {
		o.Resolver = net.DefaultResolver
	}
	if o.Tries < 0 || o.Tries > MaxTries || o.Timeout < 0 {
		return fmt.Errorf("diagnose: %d tries, timeout %v: 1 to %d tries are possible, and time", o.Tries, o.Timeout, MaxTries)
	}
	return nil
}

// Run examines the addresses that the targets lead to, and judges. What cannot be reached is in the report; an error is one of
// the options, or the end of ctx.
func Run(ctx context.Context, targets []Target, o Options) (*Report, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	n, err := newNetwork(&o)
	if err != nil {
		return nil, err
	}
	e := &examiner{options: &o, visitor: n, rand: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
	list := addresses(ctx, o.Resolver, targets, o.Name)
	r := e.examine(ctx, list)
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("diagnose: %w", err)
	}
	return r, nil
}

// examiner makes the conns of a report, one after another: what a balancer does with one must not depend on another that
// happens to be open.
type examiner struct {
	options *Options
	visitor visitor
	rand    *rand.Rand
}

func (e *examiner) examine(ctx context.Context, list []Address) *Report {
	r := &Report{Format: FormatVersion, Tries: e.options.Tries, Addresses: list, Across: []Across{}}
	var seen []*Address
	for i := range list {
		a := &list[i]
		if a.Error == "" {
			e.address(ctx, a)
		}
		if a.Error == "" {
			seen = append(seen, a)
		}
	}
	for _, a := range seen {
		for i := 1; i < len(e.options.Sources) && e.options.Sources[0].Is4() == a.is4(); i++ {
			moved := *a
			moved.source = i
			x := e.across(ctx, a, &moved)
			x.FromSource, x.ToSource = e.options.Sources[0].String(), e.options.Sources[i].String()
			r.Across = append(r.Across, x)
		}
	}
	if len(seen) > 1 {
		for i, a := range seen {
			r.Across = append(r.Across, e.across(ctx, a, seen[(i+1)%len(seen)]))
		}
	}
	Judge(r)
	return r
}

func (e *examiner) tell(format string, args ...any) {
	if e.options.Progress != nil {
		e.options.Progress(fmt.Sprintf(format, args...))
	}
}

// address examines one address by every kind.
func (e *examiner) address(ctx context.Context, a *Address) {
	var ids [][]byte
	answers := make(map[tlscore.Kind][]answer)
	for _, k := range kinds() {
		e.tell("%s by %v", a.Addr, k)
		c := &course{examiner: e, a: a, kind: k, p: a.probe(k)}
		c.run(ctx)
		ids, answers[k] = append(ids, c.ids...), c.answers
		if c.final || ctx.Err() != nil {
			addr, err := netip.ParseAddrPort(a.Addr)
			a.Skipped = c.noRoute && err == nil && addr.Addr().Is6()
			break
		}
	}
	a.Schannel = schannelIDs(ids)
	// Most servers have one key for both versions: the tickets of the one help to tell the names of the other's.
	var tickets [][]byte
	for _, n := range slices.Concat(answers[tlscore.OfferTicket], answers[tlscore.OfferPSK]) {
		tickets = append(tickets, n.given...)
	}
	size := nameSize(tickets)
	for _, k := range []tlscore.Kind{tlscore.OfferTicket, tlscore.OfferPSK} {
		a.probe(k).tellApart(k, answers[k], size)
	}
	if a.SessionID.Fresh+a.Ticket.Fresh+a.PSK.Fresh == 0 {
		a.Error = firstError(&a.SessionID, &a.Ticket, &a.PSK)
		a.SessionID, a.Ticket, a.PSK = Probe{}, Probe{}, Probe{}
	}
}

// firstError returns why nothing was seen: rather something else than a version that the server does not speak.
func firstError(list ...*Probe) string {
	text := ""
	for _, p := range list {
		if p.Error != "" && (text == "" || !p.Refused) {
			text = p.Error
			if !p.Refused {
				break
			}
		}
	}
	return text
}

// across carries sessions of one address to another. Where none is accepted and no key says whether the same servers stand
// behind both, it goes on: of three backends in turn, one refuses so many by chance once in 3,000 times.
func (e *examiner) across(ctx context.Context, from, to *Address) Across {
	x := Across{From: from.Addr, To: to.Addr}
	for _, k := range from.keys() {
		if sameKey([]Key{k}, to.keys()) {
			x.SharedKeys++
		}
	}
	x.SameKey = x.SharedKeys > 0
	told := from.Addr == to.Addr || x.SharedKeys > 1 || x.SharedKeys == 0 && len(from.keys()) > 0 && len(to.keys()) > 0
	for _, k := range kinds() {
		if from.probe(k).Issued == 0 || to.probe(k).Verdict == NotTried {
			continue
		}
		e.tell("%s to %s by %v", from.Addr, to.Addr, k)
		told := told || from.probe(k).lost() || to.probe(k).lost()
		for round := 1; round <= maxRounds; round++ {
			o := x.offers(k)
			e.carry(ctx, k, from, to, o)
			if told || o.Offered == 0 || o.Accepted > 0 || ctx.Err() != nil {
				break
			}
		}
	}
	return x
}

// carry offers sessions of one address at another, a new one each time: with the same one a balancer would have the same
// luck each time. Chance decides on their order, and whether another conn comes between: two balancers whose backends take
// turns could be in step.
func (e *examiner) carry(ctx context.Context, k tlscore.Kind, from, to *Address, o *Offers) {
	var list []*tlscore.Session
	for i := 0; i < e.options.Tries && ctx.Err() == nil; i++ {
		if given := e.visitor.visit(ctx, from, k, nil).sessions; len(given) > 0 {
			list = append(list, given[len(given)-1])
		}
	}
	e.rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, s := range list {
		if e.rand.IntN(2) == 1 {
			e.visitor.visit(ctx, to, k, nil)
		}
		if v := e.visitor.visit(ctx, to, k, s); v.err == nil {
			o.Offered++
			if v.resumed {
				o.Accepted++
			}
		}
	}
}

// keys returns the ticket keys seen at an address, by whichever kind.
func (a *Address) keys() []Key {
	keys := append([]Key(nil), a.Ticket.Keys...)
	for _, k := range a.PSK.Keys {
		if !sameKey(keys, []Key{k}) {
			keys = append(keys, k)
		}
	}
	return keys
}

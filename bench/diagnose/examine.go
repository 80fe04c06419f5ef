package diagnose

import (
	"context"
	"crypto/x509"
	"fmt"
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
	if o.Tries == 0 {
		o.Tries = DefaultTries
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
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
	e := &examiner{options: &o, visitor: n}
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
	kept    map[string]map[tlscore.Kind]*tlscore.Session // newest session by address and kind
}

func (e *examiner) examine(ctx context.Context, list []Address) *Report {
	e.kept = map[string]map[tlscore.Kind]*tlscore.Session{}
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
	e.kept[a.Addr+a.Name] = make(map[tlscore.Kind]*tlscore.Session)
	var ids [][]byte
	tickets := make(map[tlscore.Kind][][]byte)
	for _, k := range kinds() {
		e.tell("%s by %v", a.Addr, k)
		c := &course{examiner: e, a: a, kind: k, p: a.probe(k)}
		c.run(ctx)
		ids, tickets[k] = append(ids, c.ids...), c.tickets
		if c.final || ctx.Err() != nil {
			addr, err := netip.ParseAddrPort(a.Addr)
			a.Skipped = c.noRoute && err == nil && addr.Addr().Is6()
			break
		}
	}
	a.Schannel = schannelIDs(ids)
	// Most servers have one key for both versions: the tickets of the one help to tell the names of the other's.
	size := nameSize(slices.Concat(tickets[tlscore.OfferTicket], tickets[tlscore.OfferPSK]))
	a.Ticket.Keys, a.PSK.Keys = named(tickets[tlscore.OfferTicket], size, 1), named(tickets[tlscore.OfferPSK], size, 1)
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

// course is the way through one kind at one address.
type course struct {
	*examiner
	a       *Address
	kind    tlscore.Kind
	p       *Probe
	newest  *tlscore.Session
	used    *tlscore.Session // accepted last
	tickets [][]byte         // all that were given
	ids     [][]byte         // session IDs given where no ticket was asked for
	noRoute bool             // this machine has no way to the address
	final   bool             // what failed would fail for the other kinds too
}

// maxFailures is how many conns in a row may come to no end before the rest is not tried.
const maxFailures = 3

func (c *course) run(ctx context.Context) {
	defer c.sumUp()
	failures := 0
	for i := 0; i <= c.options.Tries && ctx.Err() == nil; i++ {
		v, ok := c.offer(ctx, c.newest)
		if !ok {
			failures++
			c.noRoute, c.final = v.noRoute, v.final && c.p.Fresh == 0
			if failures == maxFailures || c.p.Fresh == 0 && (v.refused || v.noRoute || late(v.err)) {
				return
			}
			continue
		}
		failures, c.final = 0, false
		if c.newest != nil {
			c.p.Offered++
			if v.resumed {
				c.p.Accepted++
				c.used = c.newest
			}
		}
		if n := len(v.sessions); n > 0 {
			c.newest = v.sessions[n-1]
		}
	}
	c.why(ctx)
}

// why makes the further conns that tell why offers were refused, or how good those accepted are.
func (c *course) why(ctx context.Context) {
	switch {
	case c.p.Accepted < c.p.Offered:
		same := c.newest
		for i := 0; i < c.options.Tries && ctx.Err() == nil; i++ {
			if v, ok := c.offer(ctx, same); ok {
				c.p.AgainOffered++
				if v.resumed {
					c.p.AgainAccepted++
				}
			}
		}
	case c.used != nil && c.kind != tlscore.OfferID:
		if v, ok := c.offer(ctx, c.used); ok {
			c.p.SingleUse = !v.resumed
		}
	}
	// One more session, for the next address, and one more ticket, to tell the name of its key from what is random.
	if v, ok := c.offer(ctx, nil); ok && len(v.sessions) > 0 {
		c.newest = v.sessions[len(v.sessions)-1]
	}
}

// offer makes one conn and notes what it gave.
func (c *course) offer(ctx context.Context, s *tlscore.Session) (visit, bool) {
	v := c.visitor.visit(ctx, c.a, c.kind, s)
	if v.err != nil {
		if c.p.Fresh == 0 && c.p.Error == "" {
			c.p.Error, c.p.Refused = v.err.Error(), v.refused
		}
		c.p.Failed++
		return v, false
	}
	// A server may give a session ID to a client that asked for a ticket: that is another kind.
	v.sessions = slices.DeleteFunc(v.sessions, func(got *tlscore.Session) bool {
		return c.kind == tlscore.OfferID && len(got.ID) == 0 || c.kind != tlscore.OfferID && len(got.Ticket) == 0
	})
	for _, got := range v.sessions {
		switch {
		case got == s: // not given, but resumed
		case c.kind == tlscore.OfferID:
			c.ids = append(c.ids, got.ID)
		default:
			c.tickets = append(c.tickets, got.Ticket)
			c.p.TicketBytes, c.p.LifetimeSeconds = len(got.Ticket), int(got.Lifetime/time.Second)
			c.p.EarlyDataBytes = got.MaxEarlyData
		}
	}
	if !v.resumed {
		c.p.Fresh++
		if len(v.sessions) > 0 {
			c.p.Issued++
			c.p.PerHandshake = len(v.sessions)
		}
	}
	return v, true
}

// sumUp derives what the probe says.
func (c *course) sumUp() {
	if c.p.Fresh > 0 {
		c.p.Error, c.p.Refused = "", false // it came and went: Failed counts it
		c.kept[c.a.Addr+c.a.Name][c.kind] = c.newest
	} else {
		c.p.Failed = 0
	}
	c.p.Verdict = c.p.verdict()
	if c.kind == tlscore.OfferID {
		c.p.PerHandshake = 0
		return
	}
	c.p.Stateful = c.kind == tlscore.OfferPSK && c.p.Issued > 0 && c.p.TicketBytes <= statefulBytes
}

// across carries the sessions of one address to another. A session that was refused is offered again: refused, it was not used.
func (e *examiner) across(ctx context.Context, from, to *Address) Across {
	x := Across{From: from.Addr, To: to.Addr}
	for _, k := range kinds() {
		s := e.kept[from.Addr+from.Name][k]
		if s == nil || to.probe(k).Verdict == NotTried {
			continue
		}
		e.tell("%s to %s by %v", from.Addr, to.Addr, k)
		o := x.offers(k)
		for i := 0; i < e.options.Tries && ctx.Err() == nil; i++ {
			v := e.visitor.visit(ctx, to, k, s)
			if v.err != nil {
				continue
			}
			o.Offered++
			if !v.resumed {
				continue
			}
			o.Accepted++
			if k == tlscore.OfferPSK { // used: another, from where it is from
				if v = e.visitor.visit(ctx, from, k, nil); v.err != nil || len(v.sessions) == 0 {
					break
				}
				s = v.sessions[len(v.sessions)-1]
			}
		}
	}
	x.SameKey = sameKey(from.keys(), to.keys())
	return x
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

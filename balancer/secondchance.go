//go:build linux

package balancer

import (
	"homing/balancer/affinity"
	"homing/balancer/internal/netio"
	"homing/balancer/rules"
)

// mayReplay says whether the hello may go to another backend after this one has answered or hung up: nothing has gone
// to the client, and the client has sent exactly the hello.
func (l *loop) mayReplay(c *conn) bool {
	hs := c.hs
	if !hs.holding || hs.later || hs.early || hs.tooLate || hs.tries >= maxTries || l.now >= hs.deadline {
		return false
	}
	// What the kernel has received and we have not read counts too.
	return !l.eng.HasInput(c.socks[sideClient])
}

// mayRetry is rule (b): the backend ended a TLS <= 1.2 ticket offer without a ServerHello, as some do to foreign
// tickets.
func (l *loop) mayRetry(c *conn) bool {
	hs := c.hs
	proven := hs.source == affinity.SourceSession || hs.source == affinity.SourceTicketKey
	return hs.offer.Kind == affinity.OfferTicket && !proven && hs.hellos == 0 && hs.chances == 0 && l.mayReplay(c)
}

// retry sends the hello to the next candidate after this backend has hung up. It reports whether there was one;
// without, the client gets what there is. Either way the hang-up is a refusal: the next offer like this one goes
// elsewhere first, or each would be a charge on the budget.
func (l *loop) retry(c *conn) bool {
	hs := c.hs
	if !hs.offer.RefreshOnly {
		c.lane.known.Refused(&hs.offer, hs.source, uint32(c.backend.ID), l.unix)
	}
	d := l.decide(c)
	if d.Backend == nil || !l.spend(c) {
		return false
	}
	hs.chances++
	hs.charged, hs.mends = true, true
	l.dropBackend(c)
	l.forgetAnswer(hs)
	l.becomeConnect(c, d)
	return true
}

// maySecond is rule (c): a guessed backend has refused, another may accept.
func (l *loop) maySecond(c *conn) bool {
	hs := c.hs
	if c.flows[sideClient].is(sending) {
		return false // it has answered before it had the whole hello: it may not be done with it
	}
	second := &c.lane.pool.Snapshot().Options().SecondChance
	return second.Auto && hs.guessed() && hs.chances < second.Tries && l.mayReplay(c)
}

// second keeps the refusal aside and asks the next candidate. It reports whether there was one.
func (l *loop) second(c *conn) bool {
	hs := c.hs
	var q rules.Question
	l.ask(c, &q)
	d := q.Second(c.lane.known, c.lane.pool.Snapshot())
	if d.Backend == nil || !l.spend(c) {
		return false
	}
	hs.chances++
	hs.charged, hs.mends = true, false
	if hs.stash.used() {
		l.dropBackend(c) // only the first answer is kept
	} else {
		hs.stash = stash{
			sock: c.socks[sideBackend], backend: c.backend, held: hs.held, source: hs.source, lost: hs.lost,
			until: l.now.Add(c.lane.cfg.HoldTimeout), times: hs.times,
		}
		hs.held = nil
		c.socks[sideBackend] = netio.NoSock
		c.backend = nil
		c.flows[sideBackend] = flow{bytes: c.flows[sideBackend].bytes}
	}
	l.forgetAnswer(hs)
	l.becomeConnect(c, d)
	return true
}

// becomeUnstashed goes back to the first backend's answer: no other has accepted.
func (l *loop) becomeUnstashed(c *conn) {
	hs := c.hs
	l.dropBackend(c)
	c.socks[sideBackend], c.backend = hs.stash.sock, hs.stash.backend
	l.forgetAnswer(hs)
	hs.try = try{}
	hs.held, hs.source, hs.lost, hs.times = hs.stash.held, hs.stash.source, hs.stash.lost, hs.stash.times
	hs.stash = stash{}
	c.state = stateObserve
	l.reread(c)
}

// reread reads a kept refusal again, for what it issues, and passes it on.
func (l *loop) reread(c *conn) {
	c.hs.verdict = VerdictRefused // stands
	opaque := l.read(c, c.hs.held)
	l.release(c, nil)
	l.observed(c, opaque)
}

// retryable are the alerts that TLS <= 1.2 servers send to a ticket they cannot read: bad_record_mac,
// illegal_parameter, decode_error, internal_error (RFC 5246, Section 7.2; NSS among others).
func retryable(alert uint8) bool {
	switch alert {
	case 20, 47, 50, 80:
		return true
	}
	return false
}

// spend takes one second chance out of the budget of the conn's pool, if it is full enough for its client.
func (l *loop) spend(c *conn) bool {
	share, live := c.lane.share, len(c.lane.pool.Snapshot().Live())
	a := l.asker(c)
	if share.budget < l.standings.price(a, live, l.unix) {
		inc(&share.count.NoBudget)
		return false
	}
	share.budget--
	l.standings.charge(a, live, l.unix)
	inc(&share.count.SecondChances)
	return true
}

// gained notes that the conn's second chance was worth it, once.
func (l *loop) gained(c *conn) {
	c.hs.charged = false
	l.standings.gained(l.asker(c), len(c.lane.pool.Snapshot().Live()), l.unix)
}

// guessedRight notes that an offer whose backend was guessed has been accepted: with a chance of its own, or without,
// where there may be chances. Either says that the network's offers are somebody's.
func (l *loop) guessedRight(c *conn) {
	s := c.lane.pool.Snapshot()
	switch {
	case c.hs.charged:
		l.gained(c)
	case s.Options().SecondChance.Auto && c.hs.guessed():
		l.standings.earned(l.asker(c), 1, len(s.Live()), l.unix)
	}
}

func (l *loop) asker(c *conn) asker {
	return l.standings.asker(c.lane.pool, c.hs.offer.Network, c.name)
}

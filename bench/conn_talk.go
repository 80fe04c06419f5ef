package bench

import "homing/bench/tlscore"

// greet makes the hello and puts it into out. It reports whether the conn goes on.
func (l *loop) greet(k *conn) bool {
	c := k.client
	o := c.group.options
	o.ServerName = l.names[c.name]
	o.Session = c.offer(l.clock())
	o.Shares, o.Verified = l.shares, l.chains
	if c.group.Kind == Early {
		o.EarlyData = l.request(k)
	}
	var err error
	if k.tls, err = tlscore.New(&o); err != nil {
		l.fail(k, Other, err)
		return false
	}
	k.out = append(k.out[:0], k.tls.Output()...)
	k.hello = k.tls.HelloLen()
	s := k.tls.State()
	if s.Offered != tlscore.OfferNone {
		k.record.Offered++
	}
	if s.EarlyOffered {
		k.record.EarlyOffered++
	}
	return true
}

// request returns the next request, which is the last on the conn or not.
func (l *loop) request(k *conn) []byte {
	pair := &k.client.group.requests[k.client.name]
	if k.left == 1 {
		return pair[1]
	}
	return pair[0]
}

// ask sends the next request.
func (l *loop) ask(k *conn) {
	k.state = asking
	k.answer.reset()
	k.asked = true
	if err := k.tls.Write(l.request(k)); err != nil {
		l.fail(k, Other, err)
	}
}

// noteShaken does what is due once the handshake is over, and knows whether it has been done.
func (l *loop) noteShaken(k *conn) {
	if k.shaken || !k.tls.Shaken() {
		return
	}
	k.shaken = true
	now, s, rec := l.clock(), k.tls.State(), k.record
	rec.Shaken++
	latency := &rec.Full
	tick := k.rec.tick(now)
	switch {
	case s.Offered == tlscore.OfferNone:
	case s.Resumed:
		latency = &rec.Resumed
		rec.Accepted++
		l.stats.accepted.Add(1)
		if tick != nil {
			tick.Accepted++
		}
	default:
		rec.Refused++
		l.stats.refused.Add(1)
		if tick != nil {
			tick.Refused++
		}
	}
	record(latency, now-k.intended)
	record(&rec.Handshake, now-k.opened)
	if s.EarlyAccepted {
		rec.EarlyAccepted++
	}
	switch {
	case k.client.group.Requests < 0:
		l.becomeEnding(k, ticketWait)
	case k.client.group.Hold:
		k.state = holding
		l.active--
		l.stats.held.Add(1)
		l.held = append(l.held, heldConn{k, k.gen})
	case s.EarlyAccepted: // the request is there already
		k.state, k.asked = asking, true
	default:
		l.ask(k)
	}
}

// answered does what is due once an answer is whole.
func (l *loop) answered(k *conn) {
	now, rec := l.clock(), k.record
	if k.answer.status/100 != 2 {
		l.fail(k, Answer, errStatus(k.answer.status))
		return
	}
	rec.Requests++
	if k.left == max(k.client.group.Requests, 0) { // the first
		record(&rec.Answer, now-k.intended)
		record(&rec.Service, now-k.began)
		l.credit(k)
	}
	k.left--
	if k.left == 0 {
		l.becomeEnding(k, endWait)
		return
	}
	if k.client.group.Think == 0 {
		l.ask(k)
		return
	}
	k.state = thinking
	at := now + k.client.group.Think
	k.deadline = at + l.plan.Timeout
	l.timers.add(timer{at: at, slot: k.slot, gen: k.gen, what: dueAsk})
}

// credit counts the answer for the backend that named itself in it.
func (l *loop) credit(k *conn) {
	rec, s := k.record, k.tls.State()
	b := BackendTally{Conns: 1}
	if s.Offered != tlscore.OfferNone {
		if s.Resumed {
			b.Accepted = 1
		} else {
			b.Refused = 1
		}
	}
	rec.answeredBy(string(k.answer.backend), b)
}

package affinity

// A client's home is an entry of the clients table whose expiry carries, in its two low bits, how the home has fared
// since: an entry lives up to 3 s less.
const (
	clientClean  = 0 // its last offer was not refused there
	clientStrike = 1 // it was, within strikeSeconds
	clientOut    = 2 // two in a row were: no home until strikeSeconds have passed
	clientTrusty = 3 // others do no better, see compare: its refusals do not count
	clientBits   = 3

	// strikeSeconds is how long refusals count. A client with a home of its own is refused there once in a ticket's
	// life. Of a hundred clients behind one address most are; each refusal leaves one more of them with a session of
	// the backend that happens to be home, so that in the end all would be there, were refusals forgotten at once.
	strikeSeconds = 60

	// compareRefusals is how many offers of a client others have to refuse, and none to accept, before its home is
	// taken for as good as any. Where clients of three backends share an address, others accept every third of their
	// offers, and one time in 650 none of so many.
	compareRefusals = 16

	// compared in place of a count: others have accepted an offer of the client.
	compared = 0xff
)

// clientHome is the backend of client k, 0 if there is none to use.
func (p *Pool) clientHome(k Key, now uint32) uint32 {
	if k == 0 {
		return 0
	}
	id, expiry, ok := p.store.clients.Lookup(k, now)
	if !ok || expiry&clientBits == clientOut {
		return 0
	}
	return id
}

// Completed says that client completed a handshake at backend id (in TLS 1.3: both sides have sent application data).
// That is its home from now on, unless it has struck out; a strike stays with it. A client can choose its own home, and
// that of those who share its address, name and shape, no other's: the address is that of its packets, or a trusted
// proxy's word.
func (p *Pool) Completed(client Key, id, now uint32) {
	if client == 0 || id == 0 {
		return
	}
	s := p.store
	state, expiry := uint32(clientClean), p.clientExpiry(now)
	if old, was, ok := s.clients.Lookup(client, now); ok {
		switch state = was & clientBits; state {
		case clientOut:
			return
		case clientStrike:
			if old == id {
				return
			}
			expiry = was &^ clientBits
		default:
			if old == id && !worthwhile(was&^clientBits, expiry, s.ttl.client) {
				return
			}
		}
	}
	p.putClient(client, id, expiry|state, now)
}

func (p *Pool) clientExpiry(now uint32) uint32 { return (now + p.store.ttl.client) &^ clientBits }

// putClient keeps and tells a client's home.
func (p *Pool) putClient(client Key, id, expiry, now uint32) {
	if p.store.clients.Insert(client, id, expiry, now) {
		p.tell(Fact{Kind: FactClient, Span: spanOf(expiry - now), Key: client, ID: id, Time: expiry &^ clientBits})
	}
}

// clientStanding is the client's home and how it stands (clientBits); false: none is known.
func (p *Pool) clientStanding(client Key, now uint32) (home, state uint32, ok bool) {
	if client == 0 {
		return 0, 0, false
	}
	home, expiry, ok := p.store.clients.Lookup(client, now)
	return home, expiry & clientBits, ok
}

// clientRefused gives the client's home a strike if it is backend id. While the home is out, a refusal by another
// speaks for it.
func (p *Pool) clientRefused(client Key, id, now uint32) {
	s := p.store
	old, state, ok := p.clientStanding(client, now)
	if !ok {
		return
	}
	switch {
	case state == clientOut && old != id:
		p.compare(client, id, now)
	case state == clientOut, state == clientTrusty, old != id:
	default:
		s.clients.Insert(client, id, (now+strikeSeconds)&^clientBits|(state+1), now)
	}
}

// compare counts a refusal by backend id of an offer of client, whose home is out. When enough have refused it, they
// are no better than its home was, which refused now and then for reasons of its own: its cache is small, or per
// process. The home is where the client completes the handshake that follows.
func (p *Pool) compare(client Key, id, now uint32) {
	n, _, _ := p.store.refusals.Lookup(comparison(client), now)
	switch {
	case n == compared:
	case n+1 < compareRefusals:
		p.store.refusals.Insert(comparison(client), n+1, now+strikeSeconds, now)
	default:
		p.putClient(client, id, p.clientExpiry(now)|clientTrusty, now)
	}
}

// comparison is where, in the memory of refusals, a client's are counted.
func comparison(client Key) Key { return pair(client, AnyID) }

// clientAccepted says that backend id accepted an offer of the client: it forgives its home a strike. If it is another,
// the client has sessions of several backends, or is several clients.
func (p *Pool) clientAccepted(client Key, id, now uint32) {
	s := p.store
	old, state, ok := p.clientStanding(client, now)
	if !ok {
		return
	}
	switch {
	case state == clientStrike && old == id, state == clientTrusty && old != id:
		s.clients.Insert(client, old, p.clientExpiry(now), now)
	case state == clientOut && old != id:
		s.refusals.Insert(comparison(client), compared, now+strikeSeconds, now)
	}
}

package affinity

// A client's home is an entry of the clients table whose expiry carries, in its
// two low bits, how the home has fared since: an entry lives up to 3 s less.
const (
	clientClean  = 0 // its last offer there was accepted, or none was made
	clientStrike = 1 // one was refused
	clientOut    = 2 // two were: not used until outSeconds pass or an offer is accepted there
	clientBits   = 3

	// outSeconds: the handshakes that follow a refusal complete too, at the same
	// backend, and must not bring back at once what the refusals ended.
	outSeconds = 60
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

// Completed says that client completed a handshake at backend id (in TLS 1.3:
// both sides have sent application data). That is its home from now on.
func (p *Pool) Completed(client Key, id, now uint32) {
	if client == 0 || id == 0 {
		return
	}
	s := p.store
	expiry := (now + s.ttl.client) &^ clientBits
	if old, was, ok := s.clients.Lookup(client, now); ok && old == id {
		state := was & clientBits
		if state == clientOut || !worthwhile(was, expiry, s.ttl.client) {
			return
		}
		expiry |= state // a completed handshake says nothing of the offer: the strike stays
	}
	s.clients.Insert(client, id, expiry, now)
	p.tell(Fact{Kind: FactClient, Key: client, ID: id, Time: expiry &^ clientBits})
}

// clientAccepted clears the strikes of the client's home if it is backend id.
func (p *Pool) clientAccepted(client Key, id, now uint32) {
	if client == 0 {
		return
	}
	s := p.store
	if old, was, ok := s.clients.Lookup(client, now); ok && old == id && was&clientBits != clientClean {
		s.clients.Insert(client, id, (now+s.ttl.client)&^clientBits, now)
	}
}

// clientRefused gives the client's home a strike if it is backend id.
func (p *Pool) clientRefused(client Key, id, now uint32) {
	if client == 0 {
		return
	}
	s := p.store
	old, was, ok := s.clients.Lookup(client, now)
	if !ok || old != id {
		return
	}
	switch was & clientBits {
	case clientClean:
		s.clients.Insert(client, id, was|clientStrike, now)
	case clientStrike:
		s.clients.Insert(client, id, (now+outSeconds)&^clientBits|clientOut, now)
	}
}

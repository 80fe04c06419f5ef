package affinity

// A client's home is an entry of the clients table whose expiry carries, in its
// two low bits, how the home has fared since: an entry lives up to 3 s less.
const (
	clientClean  = 0 // no offer was refused there lately
	clientStrike = 1 // one was, within strikeSeconds
	clientOut    = 2 // two were: no home until strikeSeconds have passed
	clientBits   = 3

	// strikeSeconds is how long refusals count, whatever is accepted meanwhile. A
	// client with a home of its own is refused there once in a ticket's life. Of a
	// hundred clients behind one address most are; each refusal leaves one more of
	// them with a session of the backend that happens to be home, so that in the
	// end all would be there, were one acceptance enough to go on.
	strikeSeconds = 60
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
// both sides have sent application data). That is its home from now on, unless it
// has struck out; a strike stays with it.
func (p *Pool) Completed(client Key, id, now uint32) {
	if client == 0 || id == 0 {
		return
	}
	s := p.store
	expiry := (now + s.ttl.client) &^ clientBits
	if old, was, ok := s.clients.Lookup(client, now); ok {
		switch was & clientBits {
		case clientOut:
			return
		case clientStrike:
			if old == id {
				return
			}
			expiry = was
		default:
			if old == id && !worthwhile(was, expiry, s.ttl.client) {
				return
			}
		}
	}
	if s.clients.Insert(client, id, expiry, now) {
		p.tell(Fact{Kind: FactClient, Span: spanOf(expiry - now), Key: client, ID: id, Time: expiry &^ clientBits})
	}
}

// clientRefused gives the client's home a strike if it is backend id.
func (p *Pool) clientRefused(client Key, id, now uint32) {
	if client == 0 {
		return
	}
	s := p.store
	old, was, ok := s.clients.Lookup(client, now)
	if !ok || old != id || was&clientBits == clientOut {
		return
	}
	s.clients.Insert(client, id, (now+strikeSeconds)&^clientBits|(was&clientBits+1), now)
}

//go:build linux

package balancer

import (
	"net/netip"

	"homing/balancer/affinity"
	"homing/balancer/internal/netio"
	"homing/balancer/pool"
	"homing/tlsparse"
)

// maxTries bounds the backends that one hello is sent to.
const maxTries = 9

// maxIdleHandshakes bounds the handshakes that a loop keeps for reuse, 1 kB each.
const maxIdleHandshakes = 256

// handshake is what a conn needs until its plaintext is over. The loop lends it. Each part is reset as a whole: the
// answer when another backend is asked, the try when the next one begins, the rest when the handshake goes back to the
// loop.
type handshake struct {
	conn  uint32 // whose it is, in stateHello
	links [numOrders]link
	clientSide
	deciding
	try
	backendSide
}

// link is a handshake's place in an order of the conns in stateHello.
type link struct {
	before, after *handshake
	in            bool
}

// clientSide is what the client has said, and what follows from it alone.
type clientSide struct {
	peer      netip.AddrPort // the client: of the socket, or of the PROXY header
	local     netip.AddrPort // what it connected to, by the PROXY header; not valid without one
	heading   bool           // a PROXY header has to come first
	parser    tlsparse.Client
	hello     []byte // pool buffer: all that the client has sent, while it may have to be sent (again)
	later     bool   // the client has sent more than the hello, or FIN
	readable  bool   // hello is a ClientHello: the backend's answer is parsed
	early     bool   // early_data announced
	psks      int    // identities in the latest hello that was read
	again     secondHello
	offer     affinity.Offer
	sessionID affinity.Key // of the hello, to recognise an echo; 0: none
	client    affinity.Key
}

// deciding is where the hello goes, over all tries.
type deciding struct {
	home     affinity.Home
	source   affinity.Source
	lost     Lost        // why the home could not be used
	turn     *queueTurn  // in the queue of its pool; nil where none ever had to wait, as in nearly all
	skip     pool.Skip   // tried already
	tries    int         // connects
	late     bool        // of those in skip, one has not answered in time: it may have room again
	failed   netio.Errno // of the last connect that failed
	chances  int         // second chances used
	charged  bool        // the last one has gained nothing yet
	mends    bool        // it is for a hang-up: any ServerHello is a gain
	holding  bool        // the backend's answer waits for the verdict
	tooLate  bool        // HelloRetryRequest relayed: the conn is committed to its backend
	counted  bool        // the verdict is counted
	answered bool        // the time of the first answer is counted
	stash    stash       // the first backend that refused, while another is asked
	helloAt  netio.Time
	deadline netio.Time // of all tries together
	times               // of the latest
}

// try is one backend that is asked, until the next.
type try struct {
	addresses int        // source addresses tried for this backend
	reached   uint64     // pool.Backend.Reached of this backend when its try began
	given     bool       // the engine sends the opening
	opening   int        // bytes of it
	unheard   bool       // the backend is loaded, and nothing shows yet that it has the opening
	tryUntil  netio.Time // then another is asked
	slowAt    netio.Time // then this try is slow; 0: it is known to be
}

// backendSide is a backend's answer.
type backendSide struct {
	held         []byte // pool buffer: what waits for the verdict
	server       tlsparse.Server
	verdict      Verdict
	hellos       int  // ServerHello seen
	negotiated13 bool // TLS 1.3 was selected
	judged       bool // TLS <= 1.2: the message behind the ServerHello was seen
	full         bool // TLS <= 1.2: the server has shown a full handshake
	changed      bool // TLS <= 1.2: its ChangeCipherSpec came
	issued       affinity.Key
	digest       affinity.Digest
	ticket       bool // digest is in use
	alerted      bool // a fatal alert came: there is no verdict to wait for
	alert        uint8
}

// stash is a backend conn whose refusal is kept, to be used if no other accepts.
type stash struct {
	sock    netio.Sock
	backend *pool.Backend
	held    []byte
	source  affinity.Source
	lost    Lost
	until   netio.Time // then the refusal is used
	times   times
}

// times are those of one backend's having the hello, and of its first byte; 0: not yet.
type times struct{ sentAt, answeredAt netio.Time }

func (st *stash) used() bool { return st.backend != nil }

// offered says whether the client offers something that is worth holding the answer for: not the random session ID of
// every TLS 1.3 client.
func (hs *handshake) offered() bool {
	return hs.offer.Kind != affinity.OfferNone && (!hs.offer.Fake || hs.home.Source == affinity.SourceSession)
}

// takeHandshake lends a handshake to a conn.
func (l *loop) takeHandshake() *handshake {
	var hs *handshake
	if last := len(l.idleHandshakes) - 1; last >= 0 {
		hs = l.idleHandshakes[last]
		l.idleHandshakes = l.idleHandshakes[:last]
	} else {
		hs = &handshake{}
	}
	hs.server.Reset()
	return hs
}

// forgetAnswer makes room for another backend's answer.
func (l *loop) forgetAnswer(hs *handshake) {
	l.buffers.Put(hs.held)
	hs.backendSide = backendSide{}
	hs.server.Reset()
}

// giveHandshake takes it back with its buffers.
func (l *loop) giveHandshake(hs *handshake) {
	l.buffers.Put(hs.hello)
	l.buffers.Put(hs.held)
	l.buffers.Put(hs.again.stream)
	if hs.turn != nil {
		*hs.turn = queueTurn{}
	}
	*hs = handshake{deciding: deciding{turn: hs.turn}}
	if len(l.idleHandshakes) < maxIdleHandshakes {
		l.idleHandshakes = append(l.idleHandshakes, hs)
	}
}

// endHandshake decides what is still open when the plaintext is over or the conn ends, and gives the handshake back.
func (l *loop) endHandshake(c *conn) {
	hs := c.hs
	if c.state == stateObserve && !hs.holding {
		l.heard(c)
	}
	if c.state == stateObserve && hs.offered() && !hs.counted {
		if hs.verdict == VerdictNone {
			hs.verdict = VerdictUnknown
		}
		if hs.holding {
			l.countDecision(c)
		}
		l.countVerdict(c)
	}
	if r := c.record; r != nil {
		r.Offer, r.Source, r.Verdict, r.Lost, r.Tries = hs.offer.Kind, hs.source, hs.verdict, hs.lost, hs.tries
		if !hs.offered() && !hs.counted {
			r.Offer = affinity.OfferNone
		}
		if hs.failed != 0 {
			r.ConnectErr = hs.failed.Error()
		}
		if hs.helloAt > 0 {
			r.HelloTime = hs.helloAt.Sub(c.opened)
		}
		r.QueueTime = hs.turn.waitedFor()
		if hs.sentAt > 0 {
			r.ConnectTime = hs.connectTime()
		}
		if hs.answeredAt > 0 {
			r.AnswerTime = hs.answeredAt.Sub(hs.sentAt)
		}
	}
	l.dropStash(c)
	l.giveHandshake(hs)
	c.hs = nil
	l.count.handshakes.Add(^uint64(0))
}

// heard ends the time in which the hello may have to go to another backend for want of a sign that this one has it:
// there is one, or more than the hello has gone there.
func (l *loop) heard(c *conn) {
	hs := c.hs
	if !hs.unheard {
		return
	}
	hs.unheard = false
	if hs.holding {
		l.setDue(c, l.due(c))
		return
	}
	l.commit(c)
}

// commit says that the hello, which is not held for its verdict, goes to no other backend.
func (l *loop) commit(c *conn) {
	l.countDecision(c)
	l.buffers.Put(c.hs.hello)
	c.hs.hello = nil
}

// dropStash closes the kept refusal: another backend has accepted.
func (l *loop) dropStash(c *conn) {
	st := &c.hs.stash
	if !st.used() {
		return
	}
	l.eng.Close(st.sock, true)
	st.backend.Release()
	l.buffers.Put(st.held)
	*st = stash{}
}

// guessed says that the backend was chosen as one that may accept the offer, and not as its home.
func (hs *handshake) guessed() bool {
	return hs.source == affinity.SourceClient || hs.source == affinity.SourceExplore
}

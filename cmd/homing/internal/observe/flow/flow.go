package flow

import (
	"net/netip"
	"time"

	"homing/tlsparse"
)

// Handler is told what is seen of conns, in the order of capture. All calls come from within the calls of an Assembler.
// Arguments are good until the call returns, but for c, which is the same until Close. Nothing is said of c behind Close.
type Handler interface {
	// Open says that a conn to an observed port begins, or is seen for the first time: then Close with EndUnseen follows.
	Open(c *Conn)
	// Hello gives a whole, well-formed ClientHello of size bytes with its message header. c.Hellos is 1, or 2 for the
	// one that answers a HelloRetryRequest, which is the one that a ServerHello behind it answers.
	Hello(c *Conn, h *tlsparse.Hello, size int)
	// NotTLS says that the client's stream is not to be read: tlsparse.Opaque, or tlsparse.Invalid. There is nothing to
	// judge, and only Close follows.
	NotTLS(c *Conn, status tlsparse.Status)
	// Answer gives what the server's stream says, every event but EventNone, behind the Hello that it answers. Behind a
	// final event (EventOpaque, EventInvalid, EventExcess) there is no other.
	Answer(c *Conn, s *tlsparse.Server, ev tlsparse.Event)
	// Replied says that a handshake has completed whose end cannot be seen, of TLS 1.3 or a TLS <= 1.2 resumption: the
	// client has sent its protected flight behind the server's, and the server goes on with application data. It is not
	// said after early data, where client data proves nothing; of a full TLS <= 1.2 handshake EventChangeCipherSpec says
	// it. A balancer learns the same by the same signs.
	Replied(c *Conn)
	// Close says that nothing more is told of the conn. c.Settled says whether something is missing.
	Close(c *Conn, why End)
}

// Conn is one TCP connection to an observed port.
type Conn struct {
	// Client is who connects: the sender of the first SYN, or whom a PROXY header names, from Hello or NotTLS on. Server is
	// whom it connects to. IPv4 in IPv6 is IPv4.
	Client, Server netip.AddrPort
	// Peer is the sender of the first SYN, whatever a PROXY header says.
	Peer netip.AddrPort
	// Front is what the client connected to, by the PROXY header; not valid without one.
	Front netip.AddrPort

	// Began is the time of the first packet, and Now that of the one that brings about the call. Time does not go back by
	// less than a minute; behind a longer step back all conns before it are closed.
	Began, Now time.Time

	// RTT is the time from SYN to the ACK that ends the TCP handshake, 0 if it was not seen or a packet of it came twice:
	// the round trip from client to server, wherever between them the capture is made.
	RTT time.Duration

	// Hellos counts the calls of Handler.Hello. Retried says that the server has sent a HelloRetryRequest: with one hello
	// only, that which the ServerHello answers cannot be read.
	Hellos  int
	Retried bool

	// Flight is the length of the server's first flight, in bytes of TCP payload: all that it sends, from behind a
	// HelloRetryRequest on, until the client answers it. It has the certificates. 0 until the answer.
	Flight int

	// Said is the server's stream from its begin up to what Handler.Answer tells, while that is told; nil otherwise. It is
	// there for what an Event does not say, and good until the call returns.
	Said []byte

	// Settled says that the handshake was read to where it goes dark, or that there is none: whatever is missing behind,
	// all was said that can be.
	Settled bool

	// Data is the handler's own.
	Data any

	track
}

// End says why nothing more is told of a conn.
type End uint8

// The ends.
const (
	EndFIN      End = iota // both sides closed
	EndReset               // one side reset it, or the server refused it
	EndIdle                // nothing came for Config.Idle
	EndCapture             // the capture ends, or its time goes back by more than a minute
	EndReplaced            // the client's port is used for another conn
	EndUnseen              // the begin was not captured
	EndGap                 // a packet of the handshake is missing
	EndCut                 // the snap length has cut a packet of the handshake
	EndConflict            // a byte of the handshake was sent twice, and not the same
	EndMemory              // evicted: too many conns, or too many bytes held
	NumEnds
)

func (e End) String() string {
	return [...]string{
		"fin", "reset", "idle", "capture_end", "replaced", "begin_not_captured", "gap", "cut", "conflict", "memory",
	}[e]
}

// Config says what is observed.
type Config struct {
	// Ports are those of the servers. A SYN to none of them is no matter of ours, nor what follows it. None: every port.
	Ports []uint16
	// MaxConns bounds the conns that are tracked, about 550 bytes each, and as many more in a handshake; 0 means
	// DefaultMaxConns. Beyond, those give way first that are closed, then those whose handshake is over, then those that
	// have not begun one, then the eldest. Of one that has given way, what comes later is a conn with EndUnseen.
	MaxConns int
	// MaxBytes bounds what is held of handshakes and fragments, in bytes; 0 means DefaultMaxBytes. Beyond, the eldest
	// handshakes that hold any are given up.
	MaxBytes int
	// Idle is how long a handshake may pause; 0 means DefaultIdle.
	Idle time.Duration
	// Handler is told; it must be there.
	Handler Handler
}

// The defaults.
const (
	DefaultMaxConns = 1 << 18
	DefaultMaxBytes = 256 << 20
	DefaultIdle     = time.Minute
)

// Stats counts, since the begin.
type Stats struct {
	Packets uint64 // given, without those that only tell the time
	Bytes   uint64 // of them, as captured
	Cut     uint64 // packets that the snap length has cut
	Link    uint64 // of a link type that is not read
	Other   uint64 // that are no TCP, or not to be decoded
	Foreign uint64 // TCP between ports that are not observed
	TCP     uint64 // TCP of the observed ports
	Pieces  uint64 // IP fragments

	Conns uint64          // opened
	Ends  [NumEnds]uint64 // closed, by why
	// Unsettled are those of Ends whose handshake was not over.
	Unsettled [NumEnds]uint64

	Open    int // conns that are tracked and not closed
	Held    int // bytes held now
	MaxHeld int // the most that were
}

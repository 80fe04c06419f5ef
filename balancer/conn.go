//go:build linux

package balancer

import (
	"homing/balancer/affinity"
	"homing/balancer/internal/netio"
	"homing/balancer/pool"
	"homing/balancer/proxyheader"
)

// state of a conn; see the package comment.
type state uint8

const (
	stateFree state = iota
	stateHello
	stateQueue
	stateConnect
	stateObserve
	stateRelay
	stateClosing
)

// side is an end of a conn. flows[s] moves what s sends.
type side uint32

const (
	sideClient  side = 0
	sideBackend side = 1
	noSide      side = 2
)

func (s side) other() side { return 1 - s }

// conn is one proxied connection. An open, idle one costs this struct, two slots of the engine, and nothing else: what
// the handshake needs is in hs.
type conn struct {
	// Constant while open.
	index  uint32
	opened netio.Time

	// Owned by the loop.
	lane         *lane // the listener's, then the pool's
	state        state
	mark         handshakeMark
	persistent   bool // keepalive options are set
	watched      bool // the client has not shown yet that it sends no PROXY header: see sift
	watch        proxyheader.Watch
	last         side         // who sent the last byte
	network      uint32       // in Balancer.networks; 0: not counted
	name         pool.NameRef // server name, to be counted when the handshake has completed
	socks        [2]netio.Sock
	flows        [2]flow
	backend      *pool.Backend // acquired; nil before connect
	hs           *handshake    // hello to observe; nil in relay
	client       affinity.Key  // to be told affinity when the handshake has completed
	active       netio.Time    // last byte in either direction
	handshakeDue netio.Time    // when the TLS handshake must be over; 0: it is, or cannot be seen
	acked        uint64        // by both sides, when the conn last seemed idle
	since        netio.Time    // stateClosing: its begin; before: of what watch holds
	timer        timer
	record       *ConnRecord // with a conn log only
}

// handshakeMark follows the end of a handshake that cannot be seen: see loop.follow.
type handshakeMark uint8

const (
	markNone      handshakeMark = iota
	markClient                  // waits for the client's Finished
	markBackend                 // waits for the backend's first record after it
	markCompleted               // told
	markPlain                   // there is none to follow
)

// conns is the loop's table of conns. It never moves one.
type conns struct {
	pages [][]conn
	free  []uint32
	open  int
}

const (
	connPageBits = 8 // 256 conns, about 64 KiB
	connPageMask = 1<<connPageBits - 1
)

func (t *conns) at(i uint32) *conn { return &t.pages[i>>connPageBits][i&connPageMask] }

func (t *conns) take() *conn {
	if len(t.free) == 0 {
		base := uint32(len(t.pages) << connPageBits)
		page := make([]conn, 1<<connPageBits)
		t.pages = append(t.pages, page)
		for i := range page {
			t.free = append(t.free, base+uint32(len(page)-1-i))
		}
	}
	last := len(t.free) - 1
	i := t.free[last]
	t.free = t.free[:last]
	t.open++
	c := t.at(i)
	*c = conn{index: i, timer: timer{slot: -1}, socks: [2]netio.Sock{netio.NoSock, netio.NoSock}}
	return c
}

func (t *conns) give(c *conn) {
	i := c.index
	*c = conn{index: i, timer: timer{slot: -1}}
	t.free = append(t.free, i)
	t.open--
}

// tag is the engine's name for one side of c.
func (c *conn) tag(s side) uint32 { return c.index<<1 | uint32(s) }

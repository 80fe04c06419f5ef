package flow

import (
	"slices"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/reassembly"

	"homing/cmd/homing/internal/observe/capture"
	"homing/tlsparse"
)

// backStep is how far the capture's time may go back, as it does by little when several queues or interfaces are captured.
// What lies further back is another capture.
const backStep = time.Minute

// maxIdleHandshakes bounds the handshakes that are kept for reuse, and maxIdleStream the streams kept with them, in bytes.
const (
	maxIdleHandshakes = 256
	maxIdleStream     = 8 << 10
)

// Assembler follows the conns of one capture. It is for one goroutine.
type Assembler struct {
	cfg   Config
	stats Stats
	now   time.Time
	dec   *decoder

	conns map[pair]*Conn
	lists [numStages]list
	held  int // bytes, of the handshakes in conns

	lib  *reassembly.Assembler
	seg  layers.TCP // what the library is given
	of   *Conn      // whose it is
	from side       // who has sent it
	drop bool       // it is to end what the library has of the conn

	idle    []*handshake
	hello   tlsparse.Hello
	scratch []byte
}

// track is what an Assembler knows of a conn.
type track struct {
	pair          pair
	low           side // who pair.low is
	stage         stage
	before, after *Conn // in the list of stage
	touched, due  time.Time
	hs            *handshake // nil when settled or closed

	syn     uint32 // sequence number of the client's SYN
	synSeen bool
	fins    [2]bool

	// What is said behind the dark, from the headers of segments alone.
	greeted   bool // the server's ServerHello was read
	follow    follow
	flightAt  uint32 // sequence numbers: where the server's first flight begins,
	darkAt    uint32 // where its stream goes dark,
	answersAt uint32 // where the client's stream goes on behind its hello,
	repliedAt uint32 // and ends with its protected flight;
	ackedAt   uint32 // what it had of the server's then;
	lateSeq   uint32 // the server's segment that has acknowledged most,
	lateAck   uint32 // and what it has acknowledged;
	lateData  bool   // it begins like application data
}

// New returns an Assembler with nothing in it.
func New(cfg Config) *Assembler {
	if cfg.MaxConns <= 0 {
		cfg.MaxConns = DefaultMaxConns
	}
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = DefaultMaxBytes
	}
	if cfg.Idle <= 0 {
		cfg.Idle = DefaultIdle
	}
	a := &Assembler{
		cfg: cfg, dec: newDecoder(cfg.MaxBytes / 4), conns: map[pair]*Conn{}, scratch: make([]byte, tlsparse.MaxHelloLimit),
	}
	a.lib = a.newLibrary()
	a.lists = [numStages]list{
		stageBare: {wait: cfg.Idle}, stageYoung: {wait: cfg.Idle}, stageDark: {wait: darkIdle},
		stageStray: {wait: darkIdle}, stageGone: {wait: goneLinger},
	}
	return a
}

// Stats returns what was counted so far.
func (a *Assembler) Stats() Stats {
	s := a.stats
	s.Open = len(a.conns) - a.lists[stageGone].n - a.lists[stageStray].n
	s.Held = a.held + a.dec.pieces.held
	return s
}

// Flush closes all conns: the capture is over, or nothing before now is of interest. The assembler may be used again.
func (a *Assembler) Flush() {
	for _, s := range []stage{stageYoung, stageBare, stageDark} {
		for c := a.lists[s].first; c != nil; c = a.lists[s].first {
			a.close(c, EndCapture)
		}
	}
	for c := a.eldest(stageStray, stageGone); c != nil; c = a.eldest(stageStray, stageGone) {
		a.forget(c)
	}
	a.dec.pieces.forget()
}

// Packet takes the next packet. Its data is not kept. One without data only tells what time it is.
func (a *Assembler) Packet(p capture.Packet) {
	a.tick(p.Time)
	if p.Data == nil {
		return
	}
	p.Time = a.now
	a.stats.Packets++
	a.stats.Bytes += uint64(len(p.Data))
	if p.Length > len(p.Data) {
		a.stats.Cut++
	}
	switch a.dec.decode(&p) {
	case notLink:
		a.stats.Link++
	case notTCP:
		a.stats.Other++
	case isPiece:
		a.stats.Pieces++
	case isTCP:
		a.segment()
	}
	a.stats.MaxHeld = max(a.stats.MaxHeld, a.held+a.dec.pieces.held)
	a.makeRoom()
}

// tick sets the time.
func (a *Assembler) tick(t time.Time) {
	switch {
	case t.IsZero():
	case a.now.IsZero() || !t.Before(a.now):
		a.now = t
	case a.now.Sub(t) > backStep:
		a.Flush()
		a.now = t
	}
	a.expire()
}

// observed says whether a port is one of the servers'.
func (a *Assembler) observed(port uint16) bool {
	return len(a.cfg.Ports) == 0 || slices.Contains(a.cfg.Ports, port)
}

// segment takes the segment that the decoder has found.
func (a *Assembler) segment() {
	tcp := &a.dec.tcp
	if !a.observed(uint16(tcp.SrcPort)) && !a.observed(uint16(tcp.DstPort)) {
		a.stats.Foreign++
		return
	}
	a.stats.TCP++
	source, destination := a.dec.net.Endpoints()
	src, dst := endpointOf(source, uint16(tcp.SrcPort)), endpointOf(destination, uint16(tcp.DstPort))
	name := pairOf(src, dst)
	c := a.conns[name]
	if tcp.SYN {
		c = a.begin(c, name, src, dst)
	}
	if c == nil {
		a.unseen(name, src, dst)
		return
	}
	from := c.low
	if src != name.low {
		from = c.low.other()
	}
	c.touched, c.Now = a.now, a.now
	switch c.stage {
	case stageBare, stageYoung:
		a.young(c, from)
	case stageDark:
		a.dark(c, from)
	case stageStray:
		if tcp.RST || tcp.FIN {
			a.move(c, stageGone)
		}
	case stageGone, numStages:
	}
}

// open begins to track a conn from one endpoint to another.
func (a *Assembler) open(name pair, from, to endpoint) *Conn {
	c := &Conn{Client: from.addrPort(), Server: to.addrPort(), Began: a.now, Now: a.now}
	c.Peer = c.Client
	c.pair, c.touched = name, a.now
	if from != name.low {
		c.low = server
	}
	c.hs = a.takeHandshake()
	a.conns[name] = c
	a.lists[stageBare].put(c, a.now)
	a.stats.Conns++
	a.cfg.Handler.Open(c)
	return c
}

// begin takes a SYN, or the server's answer to one, on what is known of its conn, if anything. It returns the conn that the
// segment belongs to; nil: it is no matter of ours.
func (a *Assembler) begin(c *Conn, name pair, src, dst endpoint) *Conn {
	tcp := &a.dec.tcp
	from, to, syn := src, dst, tcp.Seq
	if tcp.ACK {
		from, to, syn = dst, src, tcp.Ack-1
	}
	if c != nil && c.synSeen && c.syn == syn && (c.low == client) == (from == name.low) {
		if c.hs != nil && !tcp.ACK {
			c.hs.untimed = true
		}
		return c
	}
	switch {
	case !a.observed(to.port) || tcp.RST:
		return c
	case c == nil:
	case c.stage < stageStray && tcp.ACK:
		return c // it answers no SYN that we have seen: an older conn's, or there was one that the server ignores
	case c.stage < stageStray:
		a.close(c, EndReplaced)
		a.forget(c)
	default:
		a.forget(c)
	}
	c = a.open(name, from, to)
	c.synSeen, c.syn = true, syn
	h := &c.hs.halves[client]
	h.known, h.begin = true, syn+1
	c.hs.untimed = tcp.ACK // when the SYN was sent is not known
	return c
}

// unseen takes a segment of a conn whose begin was not seen. It is a conn to be told of only if there is data: what comes
// late of a conn that is over has none.
func (a *Assembler) unseen(name pair, src, dst endpoint) {
	tcp := &a.dec.tcp
	if len(tcp.Payload) == 0 || tcp.SYN {
		return
	}
	if !a.observed(uint16(tcp.DstPort)) || a.observed(uint16(tcp.SrcPort)) && src.port < dst.port {
		src, dst = dst, src // the client's port is the higher one, if both may be the server's
	}
	a.close(a.open(name, src, dst), EndUnseen)
}

// close ends a conn. It stays in the table for a while, so that what still comes of it is known.
func (a *Assembler) close(c *Conn, why End) {
	to := stageStray
	switch why {
	case EndFIN, EndReset, EndReplaced:
		to = stageGone
		why = c.lacking(why)
	case EndIdle, EndCapture:
		why = c.lacking(why)
	case EndUnseen, EndGap, EndCut, EndConflict, EndMemory, NumEnds:
	}
	if c.hs != nil {
		a.giveHandshake(c)
	}
	a.stats.Ends[why]++
	if !c.Settled {
		a.stats.Unsettled[why]++
	}
	a.move(c, to)
	c.Now = a.now
	a.cfg.Handler.Close(c, why)
	c.Data = nil
}

// lacking is why a conn ends if nothing of its handshake is missing, and otherwise what that is for.
func (c *Conn) lacking(why End) End {
	if c.hs == nil {
		return why
	}
	mine, other := &c.hs.halves[client], &c.hs.halves[server]
	switch waits := !c.clientDone(); {
	case waits && mine.cutAt >= 0 || other.cutAt >= 0:
		return EndCut
	case waits && mine.missing() || other.missing():
		return EndGap
	}
	return why
}

// takeHandshake lends a handshake.
func (a *Assembler) takeHandshake() *handshake {
	hs := &handshake{}
	if last := len(a.idle) - 1; last >= 0 {
		hs = a.idle[last]
		a.idle = a.idle[:last]
	}
	hs.reset()
	return hs
}

// giveHandshake takes it back.
func (a *Assembler) giveHandshake(c *Conn) {
	hs := c.hs
	if hs.queued {
		a.dequeue(c)
	}
	c.hs = nil
	a.held -= hs.held
	if len(a.idle) >= maxIdleHandshakes {
		return
	}
	for i := range hs.halves {
		if h := &hs.halves[i]; cap(h.stream) > maxIdleStream {
			h.stream = nil
		}
	}
	hs.reset()
	a.idle = append(a.idle, hs)
}

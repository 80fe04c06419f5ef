//go:build linux

package netio

// ringFlags is what a ring's slot waits for, what the kernel does for it, and
// what is known of its socket.
type ringFlags uint32

const (
	rWantRecv    ringFlags = 1 << iota // a Recv is in flight
	rWantSend                          // a Send's rest waits for room
	rWantSplice                        // a Splice from this socket is in flight
	rWantSink                          // a Splice to this socket waits for room
	rWantConnect                       // a Connect is in flight
	rHasRecv                           // the kernel has a receive
	rHasInput                          // the kernel has a poll for input
	rHasRoom                           // the kernel has a poll for room
	rHasConnect                        // the kernel has a connect
	rHasFirst                          // the kernel has a send behind it
	rHasDrop                           // the kernel ends the connection, and the socket is kept
	rEmpty                             // all was read when the last receive ended
	rMore                              // a splice has left something
	rUrgent                            // an urgent byte has arrived: reading stops short at it
	rFinLater                          // Shutdown waits for the Send's rest
	rAckWaits                          // connected, nothing sent yet
	rQueued                            // in the run queue
	rOurs                              // opened by Connect, with nothing that the next connection must not have
	rSix                               // of IPv6
	rFinSent                           // Shutdown was called
	rFinSeen                           // the peer's FIN was delivered
	rKept                              // closed, and the socket kept
	rSpoilt                            // it could not be unconnected
	rSettled                           // its receive buffer needs no more looking after: see settleRoom
)

// rHas are the operations that the kernel has.
const rHas = rHasRecv | rHasInput | rHasRoom | rHasConnect | rHasFirst | rHasDrop

// ringSlot is one socket of the io_uring engine.
//
// A slot is free again when its socket is closed and the last completion of every
// operation on it was seen: only then can none of the next socket be taken for
// one of this. The generation guards that once more.
type ringSlot struct {
	fd    int32  // -1 when closed
	gen   uint32 // counts the sockets that had this slot; odd while open
	tag   uint32 // when closed and kept: the descriptor
	peer  Sock   // the other end of a Splice, in either direction
	flags ringFlags
	fault fault
	moves *ringMoves // hasFirst, wantSend, wantSplice only
}

// ringMoves is what only a socket needs whose bytes are on their way.
type ringMoves struct {
	rest  []byte // wantSend: pool buffer
	sent  uint32 // wantSend: bytes of rest that are gone
	moved uint32 // wantSplice: bytes that have reached the sink
	pipe  *pipe  // wantSplice
	first int32  // hasFirst: the piece that is sent; 0: none
}

// ringSlots is a table of slots that never moves them.
type ringSlots struct {
	pages  [][]ringSlot
	free   []Sock
	spare  []*ringMoves
	open   int
	ending int // closed, but not free
}

func (t *ringSlots) at(s Sock) *ringSlot { return &t.pages[s>>pageBits][s&pageMask] }

// take opens a slot for fd.
func (t *ringSlots) take(fd int32, tag uint32) (Sock, *ringSlot) {
	if len(t.free) == 0 {
		base := Sock(len(t.pages) << pageBits)
		t.pages = append(t.pages, make([]ringSlot, 1<<pageBits))
		for i := Sock(1 << pageBits); i > 0; i-- {
			t.free = append(t.free, base+i-1)
		}
	}
	last := len(t.free) - 1
	s := t.free[last]
	t.free = t.free[:last]
	sl := t.at(s)
	*sl = ringSlot{fd: fd, gen: sl.gen + 1, tag: tag, peer: NoSock}
	t.open++
	return s, sl
}

// close ends the slot's socket; the kernel may still have operations on it.
func (t *ringSlots) close(s Sock, sl *ringSlot) {
	*sl = ringSlot{fd: -1, gen: sl.gen + 1, tag: uint32(sl.fd), peer: NoSock, flags: sl.flags & (rHas | rSix | rKept), moves: sl.moves}
	t.open--
	t.ending++
	t.settle(s, sl)
}

// settle frees a closed slot when the kernel is done with it.
func (t *ringSlots) settle(s Sock, sl *ringSlot) {
	if sl.flags&rHas == 0 {
		t.ending--
		t.free = append(t.free, s)
	}
}

// out gives sl the room for what is on its way.
func (t *ringSlots) out(sl *ringSlot) *ringMoves {
	if sl.moves == nil {
		if last := len(t.spare) - 1; last >= 0 {
			sl.moves = t.spare[last]
			t.spare = t.spare[:last]
		} else {
			sl.moves = &ringMoves{}
		}
	}
	return sl.moves
}

// maxSpareOuts bounds those kept for the next; each is 56 bytes.
const maxSpareOuts = 256

// done takes that room back when nothing is on its way.
func (t *ringSlots) done(sl *ringSlot) {
	if sl.moves == nil || sl.flags&(rHasFirst|rWantSend|rWantSplice) != 0 {
		return
	}
	*sl.moves = ringMoves{}
	if len(t.spare) < maxSpareOuts {
		t.spare = append(t.spare, sl.moves)
	}
	sl.moves = nil
}

// What user data says: the operation, the slot's generation and the slot.
//
//	bits 56-63 operation   32-55 generation   0-31 slot (or a listener's descriptor)
const (
	genShift    = 32
	genMask     = 1<<24 - 1
	ringOpShift = 56
)

// ringOp is the operation that user data names.
type ringOp uint8

const (
	ringNothing ringOp = iota // nobody waits for its completion
	ringRecv
	ringInput
	ringRoom
	ringConnect
	ringFirst // the send behind a connect
	ringDrop  // a connection is ended, the socket kept
	ringAccept
	ringWake
)

func userData(op ringOp, gen uint32, s Sock) uint64 {
	return uint64(op)<<ringOpShift | uint64(gen&genMask)<<genShift | uint64(s)
}

// has is the flag that says that the kernel has op.
func (op ringOp) has() ringFlags {
	switch op {
	case ringRecv:
		return rHasRecv
	case ringInput:
		return rHasInput
	case ringRoom:
		return rHasRoom
	case ringConnect:
		return rHasConnect
	case ringFirst:
		return rHasFirst
	case ringDrop:
		return rHasDrop
	case ringNothing, ringAccept, ringWake:
	}
	return 0
}

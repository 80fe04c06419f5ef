//go:build linux

package netio

// slotFlags is what a slot waits for, what the kernel does for it, and what is known of its socket.
type slotFlags uint32

const (
	wantRecv    slotFlags = 1 << iota // a Recv is in flight
	wantSend                          // a Send's rest waits for room
	wantSplice                        // a Splice from this socket is in flight
	wantSink                          // a Splice to this socket waits for room
	wantConnect                       // a Connect is in flight
	canRead                           // reading may succeed; of io_uring: a splice has left something
	urgent                            // an urgent byte has arrived: reading stops short at it
	finLater                          // Shutdown waits for the Send's rest
	ackWaits                          // connected, nothing sent yet
	queued                            // in the run queue
	ours                              // opened by Connect, with nothing that the next connection must not have
	six                               // of IPv6
	finSent                           // Shutdown was called
	finSeen                           // the peer's FIN was delivered
	bounded                           // its receive buffer needs no more looking after: see boundRoom

	// Of epoll.
	canWrite   // writing may succeed
	sawEnd     // FIN, RST or an error has arrived: reading never blocks again
	registered // known to epoll, for reading at least
	fullEvents // known to epoll for writing too

	// Of io_uring.
	hasRecv    // the kernel has a receive
	hasInput   // the kernel has a poll for input
	hasRoom    // the kernel has a poll for room
	hasConnect // the kernel has a connect
	hasFirst   // the kernel has a send behind it
	hasDrop    // the kernel ends the connection, and the socket is kept
	sawEmpty   // all was read when the last receive ended
	kept       // closed, and the socket kept
	spoilt     // it could not be unconnected
)

// has are the operations that the kernel has.
const has = hasRecv | hasInput | hasRoom | hasConnect | hasFirst | hasDrop

// slot is one socket of an engine. It holds no buffer and no pipe but while bytes are on their way.
//
// A slot is free again when its socket is closed and the last completion of every operation of the ring's on it was
// seen: only then can none of the next socket be taken for one of this. The generation guards that once more.
type slot struct {
	fd    int32  // -1 when closed
	gen   uint32 // counts the sockets that had this slot; odd while open
	tag   uint32 // when closed: the descriptor
	peer  Sock   // the other end of a Splice, in either direction
	flags slotFlags
	fault fault
	moves *moves // hasFirst, wantSend, wantSplice only
}

// moves is what only a socket needs whose bytes are on their way.
type moves struct {
	rest  []byte // wantSend: pool buffer
	sent  uint32 // wantSend: bytes of rest that are gone
	moved uint32 // wantSplice: bytes that have reached the sink
	pipe  *pipe  // wantSplice
	first int32  // hasFirst: the piece that is sent; 0: none
}

const (
	pageBits = 9 // 512 slots, 16 KiB: growth costs no copy and little slack
	pageMask = 1<<pageBits - 1
)

// slots is a table of slots that never moves them.
type slots struct {
	pages  [][]slot
	free   []Sock
	spare  []*moves
	open   int
	ending int // closed, but not free
}

// at returns the slot named s, which must have been given out once.
func (t *slots) at(s Sock) *slot { return &t.pages[s>>pageBits][s&pageMask] }

// take opens a slot for fd.
func (t *slots) take(fd int32, tag uint32) (Sock, *slot) {
	if len(t.free) == 0 {
		base := Sock(len(t.pages) << pageBits)
		t.pages = append(t.pages, make([]slot, 1<<pageBits))
		for i := Sock(1 << pageBits); i > 0; i-- {
			t.free = append(t.free, base+i-1)
		}
	}
	last := len(t.free) - 1
	s := t.free[last]
	t.free = t.free[:last]
	sl := t.at(s)
	*sl = slot{fd: fd, gen: sl.gen + 1, tag: tag, peer: NoSock}
	t.open++
	return s, sl
}

// close ends the slot's socket; the kernel may still have operations on it.
func (t *slots) close(s Sock, sl *slot) {
	flags := sl.flags & (has | six | kept)
	*sl = slot{fd: -1, gen: sl.gen + 1, tag: uint32(sl.fd), peer: NoSock, flags: flags, moves: sl.moves}
	t.open--
	t.ending++
	t.release(s, sl)
}

// release frees a closed slot when the kernel is done with it.
func (t *slots) release(s Sock, sl *slot) {
	if sl.flags&has == 0 {
		t.ending--
		t.free = append(t.free, s)
	}
}

// out gives sl the room for what is on its way.
func (t *slots) out(sl *slot) *moves {
	if sl.moves == nil {
		if last := len(t.spare) - 1; last >= 0 {
			sl.moves = t.spare[last]
			t.spare = t.spare[:last]
		} else {
			sl.moves = &moves{}
		}
	}
	return sl.moves
}

// maxSpareMoves bounds those kept for the next; each is 56 bytes.
const maxSpareMoves = 256

// done takes that room back when nothing is on its way.
func (t *slots) done(sl *slot) {
	if sl.moves == nil || sl.flags&(hasFirst|wantSend|wantSplice) != 0 {
		return
	}
	*sl.moves = moves{}
	if len(t.spare) < maxSpareMoves {
		t.spare = append(t.spare, sl.moves)
	}
	sl.moves = nil
}

// stale reports whether generation gen is that of a socket that had this slot before.
func (sl *slot) stale(gen uint32) bool { return sl.gen != gen }

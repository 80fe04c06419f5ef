//go:build linux

package netio

// slotFlags is what an epoll slot waits for and what it knows of its socket.
type slotFlags uint32

const (
	wantRecv    slotFlags = 1 << iota // a Recv is in flight
	wantSend                          // a Send's rest waits for room
	wantSplice                        // a Splice from this socket is in flight
	wantSink                          // a Splice to this socket waits for room
	wantConnect                       // a Connect is in flight
	canRead                           // reading may succeed
	canWrite                          // writing may succeed
	sawEnd                            // FIN, RST or an error has arrived: reading never blocks again
	sawError                          // the kernel had an error for this socket
	urgent                            // an urgent byte has arrived: reading stops short at it
	finLater                          // Shutdown waits for the Send's rest
	ackWaits                          // connected, nothing sent yet
	registered                        // known to epoll, for reading at least
	fullEvents                        // known to epoll for writing too
	queued                            // in the run queue
	ours                              // opened by Connect, with nothing that the next connection must not have
	six                               // of IPv6
	finSent                           // Shutdown was called
	finSeen                           // the peer's FIN was delivered
	settled                           // its receive buffer needs no more looking after: see settleRoom
)

// slot is one socket of the epoll engine. It holds no buffer but the unsent
// rest of a Send, and no pipe but while bytes are between two sockets.
type slot struct {
	fd    int32
	gen   uint32 // counts the sockets that had this slot; odd while open
	tag   uint32
	flags slotFlags
	fault fault
	peer  Sock   // the other end of a Splice, in either direction
	sent  uint32 // wantSend: bytes of rest that are gone
	moved uint32 // wantSplice: bytes that have reached the sink
	rest  []byte // pool buffer, wantSend only
	pipe  *pipe  // wantSplice only
}

const (
	pageBits = 9 // 512 slots, 32 KiB: growth costs no copy and little slack
	pageMask = 1<<pageBits - 1
)

// slots is a table of slots that never moves them.
type slots struct {
	pages [][]slot
	free  []Sock
	open  int
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

// give frees the slot; its socket is closed already.
func (t *slots) give(s Sock, sl *slot) {
	*sl = slot{fd: -1, gen: sl.gen + 1, peer: NoSock}
	t.free = append(t.free, s)
	t.open--
}

// stale reports whether an event of generation gen speaks of a socket that had
// this slot before.
func (sl *slot) stale(gen uint32) bool { return sl.gen != gen }

// able reports whether an operation in flight may make progress.
func (sl *slot) able() bool {
	f := sl.flags
	return f&canRead != 0 && f&(wantRecv|wantSplice) != 0 ||
		f&canWrite != 0 && f&(wantSend|wantSink) != 0 ||
		f&wantConnect != 0 && f&(canWrite|sawEnd) != 0
}

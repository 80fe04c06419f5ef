//go:build linux

package netio

import (
	"net/netip"
	"syscall"
	"time"

	"homing/balancer/netaddr"
)

// Op names the operation that a Completion ends.
type Op uint8

// The operations.
const (
	OpNone    Op = iota
	OpAccept     // a listener took a connection
	OpConnect    // Connect ended
	OpRecv       // Recv ended; Buf is lent
	OpSend       // a Send that did not end at once has ended
	OpSplice     // Splice moved bytes, met the end, or failed
	OpWake       // Wake was called, once or more often
)

// Sock names an open socket of an Engine. A closed socket's name may come back for a new socket.
type Sock uint32

// NoSock is the name of no socket.
const NoSock = Sock(1<<32 - 1)

// Completion reports the end of one operation.
type Completion struct {
	Op    Op
	Sink  bool          // Errno speaks of the receiving socket (OpSplice), or of what was sent first (OpConnect)
	Errno syscall.Errno // 0: success
	Tag   uint32        // the socket's tag; of OpAccept: the listener's
	Sock  Sock          // of OpAccept: the new socket; of OpSplice: the source
	N     int           // bytes; OpRecv and OpSplice: 0 without Errno is the end of the stream
	Buf   []byte        // OpRecv: the bytes, lent until the next call of Next or Wait
	Peer  netip.AddrPort
}

// Options are socket options of a connection's both sides.
type Options struct {
	// KeepAlive is the idle time before the first keepalive probe and between probes; 0 leaves keepalive off. Whole
	// seconds.
	KeepAlive time.Duration
	// UserTimeout bounds how long sent data may stay unacknowledged (TCP_USER_TIMEOUT, RFC 5482); 0 leaves the kernel's
	// default. Milliseconds.
	UserTimeout time.Duration
}

// Engine submits operations and hands out their completions. See the package comment for who may call what.
type Engine interface {
	// Listen starts taking connections from the listening descriptor fd, which stays the caller's. Each is reported as
	// OpAccept under tag until Unlisten. An error of accept(2), without a socket, is reported at most once per Wait and
	// accepting goes on: it is for the loop to Unlisten for a while. A connection that died in the queue is passed
	// over, or its first Recv tells. Of a queue that is shared other engines take too: each has its turn.
	Listen(fd int, tag uint32, shared bool) error
	// Unlisten stops taking connections from fd; those not yet taken wait in the kernel's queue. It holds from the next
	// call of Next.
	Unlisten(fd int) error

	// Tag sets the tag under which completions of s are reported.
	Tag(s Sock, tag uint32)
	// Connect opens a socket to an address, from src, which a unix socket does not heed. An errno here is this
	// machine's: no socket is to be had (IsShortage), or src cannot be used: EADDRNOTAVAIL where it is nobody's, EPERM
	// where a foreign one takes CAP_NET_ADMIN. Without errno OpConnect follows; after an errno in it, connect(2)'s word
	// on this destination, the socket is still to be closed. ECONNRESET there says that the connection came about and
	// was reset before it was used; EADDRNOTAVAIL that src has no port left for it.
	//
	// When given is reported, first is sent as soon as the connection is there and before OpConnect, which tells of
	// both: without errno all of first is gone; an errno with Sink set is the sending's, as of Send. Otherwise first is
	// for the caller to send. It may be reused at once either way.
	//
	// The ACK that ends the handshake rides on the first bytes that are sent. It is sent for itself when the first
	// operation is a Recv or Splice, or after 200 ms.
	Connect(src Source, to netaddr.Addr, first []byte, tag uint32) (s Sock, given bool, errno syscall.Errno)
	// Local is the address of s on this machine; not valid if the connection is gone.
	Local(s Sock) netip.AddrPort
	// Recv asks for the next bytes of s. All that the peer sent is delivered before its FIN or RST. Either stays: a
	// further Recv meets it again. A RST is told as ECONNRESET even if another call has met it before; it never looks
	// like FIN.
	Recv(s Sock)
	// Send gives b to the kernel. Done reports that all of b is gone; otherwise OpSend follows, unless errno is set. b
	// may be reused at once either way. After an errno a part of b may be gone. EPIPE: the peer had sent FIN before its
	// RST, or the RST has been told. ENOBUFS: the pool's hard limit leaves no room for the rest, or the kernel would
	// not take it though the connection stands: reading never tells of that.
	Send(s Sock, b []byte) (done bool, errno syscall.Errno)
	// Splice moves bytes from one socket to another inside the kernel. It ends with OpSplice once at least one byte has
	// moved and nothing is left between the two, at the end of the stream, or with an error; ENOBUFS: no pipe to be
	// had, or an urgent byte in the way, nothing was consumed, copy instead. What the source sent before its FIN or RST
	// is moved first. When the sink fails, bytes of the source are lost: N counts those that the sink got; ENOBUFS with
	// Sink set is as of Send.
	//
	// Two sockets that were spliced cannot be spliced with others.
	Splice(from, to Sock)
	// Shutdown sends FIN, behind what a Send in flight has left: nothing may be sent on s any more.
	Shutdown(s Sock)
	// Close ends s, with RST when reset is set. Without it the kernel sends on what it has, then FIN; or RST, if
	// something was received that no Recv has delivered. What a Send in flight has left is dropped, and a Splice from
	// or to s ends without a completion on either socket. The peer sees it when Wait is called next, or earlier.
	Close(s Sock, reset bool)

	// HasInput reports whether s has received anything that no Recv has delivered, bytes, FIN or RST; the latter two
	// count even when delivered. It asks the kernel.
	HasInput(s Sock) bool
	// Unsent is the number of bytes that the kernel has taken and the peer has not acknowledged; 0 after a RST. What a
	// Send in flight has left is not in it.
	Unsent(s Sock) int
	// Ack acknowledges at once what s has received. ACKs wait otherwise, up to 40 ms, for something to ride on.
	Ack(s Sock)
	// Acked is the number of bytes sent on s that the peer has acknowledged: while it grows, the peer is alive. Of a
	// unix socket only the growing counts.
	Acked(s Sock) uint64
	// Persist sets the options that only a conn that lives for some time needs.
	Persist(s Sock, o Options)

	// Bound reports whether all calls but Wake must come from one thread, to which the loop's goroutine is to be locked.
	Bound() bool
	// ParkAtOnce makes Wait give back the P whenever it blocks, and not only when nothing comes for some time: for a
	// process that has no more Ps than loops. Before the first Wait.
	ParkAtOnce()
	// Wait collects what has ended; it blocks until something has, at most until the clock shows deadline.
	Wait(deadline Time) error
	// Next hands out one completion of those that Wait collected. What is submitted meanwhile ends in a later batch.
	Next(c *Completion) bool
	// Now is the clock of the last Wait.
	Now() Time
	// Wake makes the present or next Wait return with OpWake. Any goroutine, also after Shut.
	Wake()
	// Buffers is the loop's pool, which Send draws on too.
	Buffers() *Buffers
	// Stats counts what the engine holds.
	Stats() EngineStats
	// Shut releases all that the engine owns; open sockets are reset. A second call does nothing.
	Shut()
}

// Time is monotonic nanoseconds since the engine was made.
type Time int64

// Add returns t shifted by d.
func (t Time) Add(d time.Duration) Time { return t + Time(d) }

// Sub returns the time from u to t.
func (t Time) Sub(u Time) time.Duration { return time.Duration(t - u) }

// EngineStats counts what an engine holds.
type EngineStats struct {
	Socks     int // open sockets
	Pipes     int // pipes made and not destroyed
	IdlePipes int // of those, empty and waiting for use
}

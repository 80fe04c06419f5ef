// Package netio is the kernel as a loop sees it: sockets, buffers, pipes and a clock behind a completion-style
// interface. It is the only package of the data plane that makes system calls.
//
// The data's path: a loop submits operations (Listen, Connect, Recv, Send, Splice) on its own Engine, calls Wait once,
// and takes the completions one by one with Next. A receive buffer is lent with the completion and goes back with the
// following Next, so an idle conn owns none. What Send cannot hand to the kernel at once moves into a buffer of the
// loop's bounded pool and the operation completes later.
//
//	submit ──► Wait ──► Next: one completion, its buffer lent ──► handler submits
//
// Rules, on every engine:
//
//   - An Engine and everything it returned belong to one loop, whose goroutine is locked to its thread if the engine
//     is Bound; only Wake may be called from elsewhere.
//   - A socket has at most one Recv or Splice from it and one Send or Splice to it in flight. Breaking this rule
//     panics.
//   - After Close no completion of that socket is delivered, and whatever was in flight on it is released when the
//     kernel is done with it, not before.
//   - What the kernel may hold beyond a call lies outside the Go heap.
//   - An end is told once it is reached, never early, and a RST never as FIN.
//   - Unix sockets keep these rules too; what they cannot do stands in unix.go.
//   - Calls are made raw, without telling the Go scheduler, but for the rare ones; how Wait blocks stands in park.go.
//
// The conformance suite (testEngine) is the long form of these rules.
//
// Two engines keep them. Epoll runs everywhere. Io_uring, where the kernel lets it be fast (Probe), accepts, sends and
// splices by calls as epoll does, but receives, connects, sends a first message and closes on its ring: one call of
// Wait submits what a batch has asked for and lets complete what can.
//
// # Files and nouns
//
// The two engines share a core, which they embed:
//
//   - core.go: the core, the run queue, waking and shutting. An engine is what waits (interface engine).
//   - slot.go: slots. A slot is a socket of the engine, a Sock its name, a tag what the loop calls it; moves are what
//     is on its way: the rest of a Send, a Splice's pipe, a first message.
//   - accept.go, connect.go, conn.go, splice.go: what is done to listeners and sockets. A fault is the error that ended
//     one.
//   - spare.go: spares, unconnected sockets that are kept for the next Connect.
//   - unix.go: unix sockets, and knocks, connects that wait for a server whose queue is full.
//   - park.go: how a loop waits: it watches, then parks.
//   - pipe.go, room.go, buffers.go: pipes of splices, a source's receive buffer, the loop's pool.
//   - sys.go, addr.go, source.go, errno.go: calls, addresses, where a connection comes from, what errors mean.
//
// Of epoll: epoll.go and epoll_conn.go. Of io_uring: uring.go, uring_conn.go and uring_shut.go; uring_op.go, what an
// operation's user data says; uring_ring.go, the queues shared with the kernel, by the structures of uring_abi.go;
// uring_buffers.go, the memory that the kernel reads and writes; uring_probe.go, what this kernel can do.
//
// Beside the engines: listen.go and listen_unix.go make listening sockets, choose.go says which engine is used,
// netio.go has the interface.
//
// A batch is what one Wait has collected; a turn is a socket's entry in the run queue, for the next batch.
//
// # What did not pay
//
// Measured beside the engines as they are, on loopback, Linux 6.18, two cores:
//
//   - Multishot receive (64 conns, 300-byte echo): 5.1 to 5.4 us of CPU a message for 5.3 to 6.7, so 2 % of a conn's.
//     It goes on while the other side takes nothing, which is against the rule of one Recv, and would have to be
//     cancelled to stop.
//   - Recv bundles: a receive that would fill several buffers is a flow that is spliced.
//   - Multishot accept and direct descriptors (20,000 short connections, 64 at a time, to a bare server; medians):
//     multishot with getpeername 21.4 us of the server's CPU each for 22.7, but 68.6 of the machine's for 65.9, within
//     the spread; with the client on the same CPU 21.0 for 20.9 and 53.2 for 52.4. Direct, sent to by the ring, with no
//     peer's address: 20.8 and 20.6 of the server's for 21.0 and 20.8; accepted singly, which tells it, 22.4 on one
//     CPU. Our own calls, splices among them, cannot take direct descriptors.
//   - TCP_FASTOPEN_CONNECT: 76 to 94 us of CPU a connection for 54 to 80; the server took the SYN's data in none of
//     those that were looked at. It has to be configured there, and may hand out the same hello twice (RFC 7413,
//     Section 2.1).
//   - SO_BUSY_POLL: loopback has no queue to poll: 77 to 84 us for 54 to 80, the spread of that test.
//   - Splices of 256 KiB instead of 1 MiB: machine CPU per GB 0.89 of HAProxy's for 0.90; turns of 4 MiB: 0.61 for
//     0.59. TCP_NOTSENT_LOWAT of 256 KiB on the sink: 0.71 for 0.60. What paid is to bound the source's buffer; see
//     boundRoom.
//   - The ring's own splice: a kernel thread would do it.
//   - Other ways to wait, beside watching for 8 ms and parking (own CPU and voluntary context switches a conn, TLS 1.3 by
//     one loop on epoll, a busy machine): a call that tells the scheduler 935 us and 44 at 50 conns/s, 351 us and 19 at
//     200; to watch for 2 ms 301 us at 200 for 184, since a conn every 5 ms is parked for each time; to watch for 100 ms
//     10.8 switches at 50 for 7.5, since sysmon, once another part of the program has woken it, finds no rest while a P
//     is held; a goroutine locked to its thread 355 us and 9.6 at 50 for 262 and 7.5, but the ring wants it.
//   - To poll the ring's descriptor while parked: deferred work does not make it readable (Linux 6.18). The ring's eventfd
//     tells, and costs nothing while its flag is down.
//
// Linux only.
package netio

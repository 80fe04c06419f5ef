// Package netio is the kernel as a loop sees it: sockets, buffers, pipes and a
// clock behind a completion-style interface. It is the only package of the data
// plane that makes system calls.
//
// The data's path: a loop submits operations (Listen, Connect, Recv, Send,
// Splice) on its own Engine, calls Wait once, and takes the completions one by
// one with Next. A receive buffer is lent with the completion and goes back
// with the following Next, so an idle conn owns none. What Send cannot hand to
// the kernel at once moves into a buffer of the loop's bounded pool and the
// operation completes later.
//
//	submit ──► Wait ──► Next: one completion, its buffer lent ──► handler submits
//
// Rules, on every engine:
//
//   - An Engine and everything it returned belong to one loop, whose goroutine is
//     locked to its thread; only Wake may be called from elsewhere.
//   - A socket has at most one Recv or Splice from it and one Send or Splice to
//     it in flight. Breaking this rule panics.
//   - After Close no completion of that socket is delivered, and whatever was in
//     flight on it is released when the kernel is done with it, not before.
//   - What the kernel may hold beyond a call lies outside the Go heap.
//   - An end is told once it is reached, never early, and a RST never as FIN.
//   - Calls that cannot block are made raw, without telling the Go scheduler; the
//     one that can block (Wait with nothing ready) is not, nor are the rare ones.
//
// The conformance suite (testEngine) is the long form of these rules.
//
// Two engines keep them. Epoll runs everywhere. Io_uring, where the kernel lets it
// be fast (Probe), accepts, sends and splices by calls as epoll does, but receives,
// connects, sends a first message and closes on its ring: one call of Wait submits
// what a batch has asked for and lets complete what can.
//
// Linux only.
package netio

// Package balancer relays TCP connections and brings TLS sessions home: it reads the ClientHello and the server's
// plaintext answer, asks affinity who issued what the client offers, and picks a backend of the pool.
//
// A Balancer runs loops. A loop is one goroutine, locked to its thread, with its own engine (package netio), conns,
// buffers and timers; nobody else touches them. What others want of it is posted as a command.
//
// # A conn
//
// The data's path through a conn and its states; only the become* functions change the state, and a test holds them to
// it:
//
//		        hello complete       connected            verdict, plaintext over
//		hello ───────────────► connect ─────► observe ───────────────────────► relay ──► closing
//		  │  tls: off            ▲   │ failed    │ no answer, refused (DESIGN.md section 3.4)
//		  └─────────────────────►│   └──►────────┘ the same hello to another backend
//		                         └───────────────┘
//		         all full  │ ▲ a place
//		                   ▼ │
//		                 queue: of the pool, the oldest first
//
//	  - hello: the client's bytes gather in a pool buffer until the ClientHello is whole; one absolute deadline.
//	  - connect: package rules has decided on a backend by what affinity knows; the buffer is kept until the backend
//	    has it, or while it may have to go to another.
//	  - queue: every backend that could have the conn has as many as it may. It waits behind those that came before it,
//	    of whatever loop; its hello stays in the buffer, and the client is read, so that its leaving is noticed.
//	  - observe: bytes are relayed by copy while tlsparse reads the server's flight. With an offer the server's bytes
//	    are held until the verdict. What is accepted or issued is learned. A refusal may be kept while another backend
//	    is asked: then the conn goes back to connect, and if nobody accepts, from either state to the observing of the
//	    backend that was kept.
//	  - relay: bytes are moved, small ones by copy, bulky flows by splice. The conn owns no buffer.
//	  - closing: the conn is counted as ended; the client still gets what the backend had said before its RST.
//
// testdata/conn tells each of these ways as a script. A conn's end is one Termination: who ended it and in which state.
//
// Until its plaintext is over a conn has a handshake, which the loop lends: what the client has said, where
// it goes, the try at one backend, that backend's answer. The last two are forgotten as a whole when another backend is
// asked.
//
// # From a listener to a pool
//
//   - settings: one generation of the configuration, shared by all loops. A reload makes the next; a conn keeps its
//     own.
//   - endpoint: an address that is listened on, with its sockets. It stays, from one generation to the next, as long
//     as a listener has that address.
//   - socket: one listening descriptor, of one loop. inlet: that loop's use of it; its number is the engine's tag.
//   - gate: what one loop does with the connections of one listener, in one generation.
//   - lane: a gate's way into one pool: all that a conn keeps of where it came from and where it goes.
//   - share: one loop's part of a pool: its counters and its budget of second chances. It outlives all generations.
//
// # Files
//
// By what befalls a conn: listener.go, settings.go (what is configured, and one generation of it), match.go (server name
// and ALPN to a pool), sockets.go and inlet.go, accept.go, proxy.go, hello.go, ask.go (what package rules is asked),
// connect.go and dial.go, queue.go, observe.go, learn.go, secondchance.go, secondhello.go, relay.go, closing.go.
// By who holds it: balancer.go, reload.go, handover.go (all loops), loop.go, turn.go, command.go, deadline.go, wheel.go
// (one), conn.go, handshake.go, flow.go (one conn). By what gives way and is told: prehello.go, memory.go, networks.go,
// count.go, stats.go, record.go, outcome.go, standing.go, ondown.go.
//
// # What gives way
//
// What there is too much of gives way in an order that is said beforehand: conns without a whole hello
// (Config.MaxPreHello, BufferMemory), fresh handshakes (Config.MemoryLimit), new connections, which wait in the
// kernel's queue (Config.MaxConns). Resumptions and established conns stay, but for those that want a buffer when
// BufferMemory is exceeded by half: peers that do not read.
//
// The time of a conn before it has a backend is bounded by three timeouts, one after the other: HelloTimeout,
// pool.Options.QueueTimeout, if it has to wait, and ConnectTimeout, for all tries together, which does not run in the
// queue. A TLS handshake has HandshakeTimeout, whoever is slow; after it IdleTimeout counts.
package balancer

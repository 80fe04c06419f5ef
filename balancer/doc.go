// Package balancer relays TCP connections and brings TLS sessions home: it reads
// the ClientHello and the server's plaintext answer, asks affinity who issued
// what the client offers, and picks a backend of the pool.
//
// A Balancer runs loops. A loop is one goroutine, locked to its thread, with its
// own engine (package netio), conns, buffers and timers; nobody else touches
// them. What others want of it is posted as a command.
//
// The data's path through a conn and its states; only the become* methods change
// the state:
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
//	  - hello: the client's bytes gather in a pool buffer until the ClientHello is
//	    whole; one absolute deadline.
//	  - connect: package route has decided on a backend by what affinity knows; the
//	    buffer is kept until the backend has it, or while it may have to go to
//	    another.
//	  - queue: every backend that could have the conn has as many as it may. It waits
//	    behind those that came before it, of whatever loop; its hello stays in the
//	    buffer, and the client is read, so that its leaving is noticed.
//	  - observe: bytes are relayed by copy while tlsparse reads the server's flight.
//	    With an offer the server's bytes are held until the verdict. What is
//	    accepted or issued is learned.
//	  - relay: bytes are moved, small ones by copy, bulky flows by splice. The conn
//	    owns no buffer.
//
// A conn's end is one Termination: who ended it and in which state.
//
// What there is too much of gives way in an order that is said beforehand: conns
// without a whole hello (Config.MaxPreHello, BufferMemory), fresh handshakes
// (Config.MemoryLimit), new connections, which wait in the kernel's queue
// (Config.MaxConns). Resumptions and established conns stay, but for those that
// want a buffer when BufferMemory is exceeded by half: peers that do not read.
//
// The time of a conn before it has a backend is bounded by three timeouts, one after
// the other: HelloTimeout, pool.Options.QueueTimeout, if it has to wait, and
// ConnectTimeout, for all tries together, which does not run in the queue. A TLS
// handshake has HandshakeTimeout, whoever is slow; after it IdleTimeout counts.
package balancer

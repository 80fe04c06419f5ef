// Package tlsparse reads what a TLS handshake says in clear: the one
// ClientHello that opens a connection, and the server's plaintext answer up to
// the point where the stream goes dark. It parses and does nothing else: no
// I/O, no clocks, no allocation.
//
// Both parsers take the stream in any chunking, over any number of TCP segments
// and TLS records. They differ in what they keep:
//
//   - [Client] is for bytes that somebody else has to hold anyway until they
//     are routed. It is given the whole stream each time, follows only the
//     framing, and parses the message into a [Hello] once, when it is whole.
//   - [Server] is for bytes that pass through. It is given each chunk once,
//     keeps none, and answers with a sequence of [Event].
//
// # The rule
//
// The package may decline to read what a TLS server accepts; it must never read
// a different session ID, ticket, PSK identity or server name than the server
// would. So whatever two servers could read in two ways is [Invalid]: duplicate
// extensions, trailing bytes, a pre_shared_key that is not last.
//
// Every strict prefix of a valid hello is [NeedMore]. Everything that does not
// begin like TLS is [Opaque], decided at the first byte that tells.
//
// Field comments cite the RFCs: 9846 is TLS 1.3, 5246 and 5077 are TLS 1.2 and
// its tickets, 6066 server_name, 7301 ALPN, 9849 ECH, 8701 GREASE.
package tlsparse

// Package tlscore is the client's side of TLS 1.2 and 1.3 without I/O: bytes in, bytes out, in any chunking, so that an
// event loop can drive thousands of conns. It is written for clients that resume and want to be seen doing it: by TLS 1.2
// session ID (which crypto/tls has no client for), by TLS 1.2 ticket, by TLS 1.3 PSK, with 0-RTT data; with hellos in the
// shapes of browsers; cheap where a load harness may be cheap (keys used again, chains verified once).
//
// It speaks ECDHE over X25519, P-256, P-384 and X25519MLKEM768, AES-128-GCM, AES-256-GCM and ChaCha20-Poly1305, the
// extended master secret (RFC 7627), ALPN, SNI, HelloRetryRequest, KeyUpdate and compressed certificates (zlib). It has
// no certificate of its own, and does not renegotiate.
package tlscore

// Package diagnose finds out what becomes of TLS sessions at one or several addresses, and why: it connects a few times
// as clients of three kinds do (TLS 1.2 by session ID, TLS 1.2 by ticket, TLS 1.3 by PSK), offers what it was given, at
// the same address and at the next, and reads what the server says of it.
//
// Two ways to offer tell the causes apart. A client keeps the newest session: that is what the verdict is about. When
// not all of those offers are accepted, one and the same session is offered again and again: if it is accepted now and
// then, several backends stand behind the address. The first bytes of tickets name their key in most TLS stacks, so that
// the keys, and with them the backends, can be counted.
//
// Examine looks and Judge thinks: from what was seen to sentences and remedies leads a pure function.
package diagnose

// Package diagnose finds out what becomes of TLS sessions at one or several addresses, and why: it connects a few times
// as clients of three kinds do (TLS 1.2 by session ID, TLS 1.2 by ticket, TLS 1.3 by PSK), offers what it was given, at
// the same address and at the next, and reads what the server says of it.
//
// Servers are told apart by what their full handshakes give: the first bytes of tickets name their key in most TLS stacks,
// some servers give none, some give names of entries in their memory. Where such kinds take turns there are several servers,
// for certain. So a refusal also tells whether who refused has the key.
//
// Where nothing tells them apart, counts do. A client keeps the newest session: that is what the verdict is about. When not
// all of those offers are accepted, one that was refused is offered again and again, and one that came with the refusal. Two
// servers that do not know each other's sessions accept about half of these together, one that refused for once nearly all,
// and one with a rule of its own all of the one and none of the other. Each judgement says how sure it is.
//
// Examine looks and Judge thinks: from what was seen to sentences and remedies leads a pure function.
package diagnose

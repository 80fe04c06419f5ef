// Package api is what the admin server of a running homing says and understands, as Go types, and the client that
// commands use to talk to it. The server's OpenAPI description is made from the types here: the tag `doc` of a field is
// its meaning, and a field without one is refused by a test.
//
// Times are in RFC 3339, spans of time in seconds, sizes in bytes. Counters count since the node started, gauges are of
// now. What is empty is left out only where its meaning says so.
package api

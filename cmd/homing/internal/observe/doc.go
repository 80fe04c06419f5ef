// Package observe says what becomes of TLS resumptions in traffic that flows already, and what homing would have made of
// them. It reads capture files or an interface, and never sends a packet.
//
//	files / interface ──capture──► Packet ──flow──► Handler calls ──judge──► Findings ──report──► text, json, html, watch, metrics
//	                                                     │
//	                                             affinity.Store, by capture time
//
// capture knows files and sockets, flow knows packets and streams, judge knows servers and what homing would know of
// them, report knows people and their programs. The command here joins them: one goroutine takes packets from the source to
// the judge, others look at its findings, with one lock between them.
//
// All that is learned is learned as the balancer learns it, by the same parser and the same tables, with only what was
// known at the time of the hello: the clock is that of the capture.
package observe

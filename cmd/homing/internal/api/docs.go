package api

import (
	"cmp"
	"reflect"
)

// DocOf is what a field of a type of this package means: the doc in its tag or, where it is longer than a line has room
// for, that of longDocs.
func DocOf(of reflect.Type, field reflect.StructField) string {
	return cmp.Or(field.Tag.Get("doc"), longDocs()[of.Name()+"."+field.Name])
}

func longDocs() map[string]string {
	return map[string]string{
		"Backend.HealthSince": "When it went down or came back last; left out when it has been up since it joined.",
		"Backend.FreshShare":  "Percentage of its weight that counts for fresh handshakes: below 100 while it starts slowly.",
		"Drain.Mode": "off; soft: no fresh handshakes, but its own resumptions; hard: no new conns. A soft one becomes hard when " +
			"its time is over.",
		"Known.Doubtful": "Of them, those whose tickets it has only refused for a while; see the list of ticket keys.",
		"DrainRequest.For": "How long its own resumptions are admitted; with hard, how long its conns are expected to last. 0: 3600. " +
			"At most 604800.",
		"TicketKeyHome.Doubtful": "Whether it has only refused them for 10 s and more, 8 and more of clients in 4 networks: the others are " +
			"preferred, and the probe looks into it.",
		"LookupRequest.Client": "With a hello: the address that it comes from. A client's home counts only then, for it is known by both.",
		"Match.Rule": "session: the identifier is known; ticket_key: its key is; client: the hello's client is; explore: none of " +
			"them, a ticket goes by consistent hash; fresh: nothing is known of a session ID.",
		"Shortage.Cause": "Of a pool: queue_full, queue_timeout, no_backend, connect_timeout, handshake_timeout, source, ports, " +
			"connect_descriptors, sockets, buffers, itself. Of a listener: max_conns, listener_conns, memory_full, " +
			"memory, descriptors, pre_hello, source_conns, source_rate. Of the node: shed, log.",
		"Shortage.Count": "How often since it began: conns, connects or lines of the log; of what keeps clients waiting, " +
			"milliseconds.",
		"Totals.ConnectTimeouts": "Of these, timed out: the backend does not accept as fast as clients come, or is gone.",
		"Totals.Refused": "Conns that a listener refused, by its rule: no_route, no_tls, proxy_header, denied, source_conns, " +
			"source_rate, pre_hello or memory.",
		"Totals.Lost": "Offers refused, or not routable to their home, by reason: unknown, expired, rotated, moved, not_kept (a " +
			"session ID that its backend did not have a minute later, or that is of one which keeps none), " +
			"backend_down, overloaded, drained or ech.",
		"TableShare.Evicted": "Live entries of the pool that gave way, and new ones that found no place: it held more than the others.",
	}
}

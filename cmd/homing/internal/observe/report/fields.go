package report

import (
	"fmt"
	"io"
)

// field is one path of the JSON, and what stands there. [] is each of a list.
type field struct{ path, meaning string }

// outcomeFields are those of an outcome, below a path.
func outcomeFields(path string) []field {
	return []field{
		{path + "handshakes", "with a ServerHello that can be read: fresh, accepted and refused"},
		{path + "fresh", "full handshakes of clients that offered nothing"},
		{path + "failed", "conns without an offer of which no handshake came"},
		{path + "offers", "offers to resume that were accepted or refused"},
		{path + "accepted", "offers that were resumed"},
		{path + "refused", "offers that became full handshakes"},
		{path + "undecided", "offers whose answer does not say: an alert, or the end"},
		{path + "doubtful_ids", "of refused: session IDs that nobody was seen to issue; many clients invent one for each fresh handshake"},
		{path + "lost", "refused without doubtful_ids"},
		{path + "lost_share", "lost, of accepted and lost"},
		{path + "why", "refused by why: elsewhere, likely_elsewhere, expired, rotated, moved, not_kept, unknown; empty where servers are not seen one by one"},
		{path + "with_homing.accepted", "how many of accepted and lost homing would have had accepted: the best estimate"},
		{path + "with_homing.low", "at least"},
		{path + "with_homing.high", "at most"},
		{path + "would_be_too_old", "offers of TLS <= 1.2 that would be too old with homing, which keeps clients from getting new sessions"},
		{path + "may_be_too_old", "offers that would be older than what was seen of the servers tells"},
		{path + "saved_share.accepted", "of lost, what homing would have brought home: the best estimate"},
		{path + "saved_share.low", "at least"},
		{path + "saved_share.high", "at most"},
		{path + "counted", "servers are seen one by one; otherwise with_homing is an estimate within its bounds"},
	}
}

// fields is the whole table, in the order of the JSON.
func fields() (all []field) {
	add := func(path, meaning string) { all = append(all, field{path, meaning}) }
	outcome := func(path string) { all = append(all, outcomeFields(path)...) }
	add("format", "1; fields may be added, and none changes its meaning or goes without another number")
	add("begun", "the time of the first packet, RFC 3339")
	add("ended", "of the last one")
	add("observed_seconds", "between them, without gaps of over an hour")
	add("clock_set_back", "how often time went back by more than a minute: files in the wrong order")
	add("view.kind", "where the capture was made: nothing, between (balancer and servers), both (on the balancer), before (the balancer, or one server), apart (addresses that have nothing to do with each other)")
	add("view.why", "how that was found")
	outcome("total.")
	for _, list := range []struct{ path, what string }{
		{"kinds[].", "by version and kind of offer"}, {"names[].", "by server name"}, {"rows[].", "by all of these"},
	} {
		add(list.path+"service", list.what+": the address where the server answers, only in rows")
		add(list.path+"server_name", list.what+": the server name of the hello; (others) beyond 512")
		add(list.path+"version", list.what+": the version that the server chose; none: it did not answer")
		add(list.path+"kind", list.what+": what was offered: none, id, ticket, psk")
		outcome(list.path)
		add(list.path+"flight_bytes.full", "the mean length of the server's first flight in full handshakes; 0: none was seen")
		add(list.path+"flight_bytes.resumed", "in resumed ones")
	}
	add("services[].address", "where servers answer; (others) beyond 256")
	add("services[].role", "alone, backend (one of several behind a balancer), front (the balancer's own)")
	add("services[].given", "by --backend or --vip")
	add("services[].part_of_total", "it is counted there: a balancer's address is not where its servers are seen, nor are strangers")
	outcome("services[].")
	add("services[].servers_at_least", "servers that stand behind it, for certain")
	add("services[].ticket_keys_at_once", "ticket keys in use at the same time")
	add("services[].refused_and_good", "of refused, what another server behind it would have taken, at least")
	add("costs.round_trips", "more of them than with resumptions: one for each lost offer of TLS <= 1.2, or with early data")
	add("costs.round_trip_seconds", "of one, as conns here reach; 0: not seen")
	add("costs.bytes", "of certificates and signatures on the wire")
	add("costs.full_handshakes", "each of which cost a signature")
	add("costs.certificates[].kind", "by public key, rsa2048, rsa3072, rsa4096, p256, p384, ed25519; empty: none of these was read")
	add("costs.certificates[].how", "read (in TLS <= 1.2), same_service (read there, with another version or name: TLS 1.3 hides it), assumed")
	add("costs.certificates[].full_handshakes", "of costs.full_handshakes, by shares where there are several kinds")
	add("costs.server_cpu[].certificate", "a kind of certificate")
	add("costs.server_cpu[].how", "read, assumed (those are alternatives, for the same handshakes), given (by --certificate)")
	add("costs.server_cpu[].full_handshakes", "how many, of costs.full_handshakes")
	add("costs.server_cpu[].seconds_each", "a signature, measured where this was made, or as given")
	add("costs.server_cpu[].seconds", "all of them")
	add("ticket_keys[].id", "a hash of its name, good within one report")
	add("ticket_keys[].name_bytes", "how long the name is")
	add("ticket_keys[].holders[]", "addresses that proved to hold it")
	add("ticket_keys[].since", "first proof")
	add("ticket_keys[].last", "last proof")
	add("ticket_keys[].uses", "acceptances and issues")
	add("ticket_keys[].older_than_a_day", "it was in use for longer: who takes it reads all that was said under it")
	add("offers_without_key_name", "of tickets and PSKs: those under no key that is known")
	add("hellos.count", "first ClientHellos")
	add("hellos.mean_bytes", "with their message headers")
	add("hellos.longest_bytes", "the longest one")
	add("hellos.sizes[].up_to_bytes", "the bound of a class of sizes; 0: above all")
	add("hellos.sizes[].count", "hellos of that class")
	add("hellos.tls13_share", "that speak TLS 1.3")
	add("hellos.post_quantum_share", "with a key share of ML-KEM or Kyber")
	add("hellos.ech_share", "with encrypted_client_hello, real or GREASE")
	add("hellos.early_data_share", "with early data")
	add("hellos.without_name_share", "without a server name")
	add("hellos.hello_retry_share", "that a server answered with a HelloRetryRequest")
	add("clients.seen", "clients, by address, server name and shape of hello")
	add("clients.returned", "of them, with a second handshake")
	add("clients.returned_and_never_offered", "of these, that have not offered a session")
	add("clients.handshakes_of_these", "of clients that had been there and had not offered until then")
	add("clients.addresses", "their addresses, up to 256")
	add("clients.hidden", "they have the balancer's addresses")
	add("unjudged.opened", "conns in all")
	add("unjudged.not_tls", "that do not begin as TLS")
	add("unjudged.invalid", "that break its rules")
	add("unjudged.without_hello", "that ended before one")
	add("unjudged.unanswered", "hellos without a ServerHello")
	add("unjudged.missing", "conns whose packets are not all there")
	add("unjudged.missing_why", "by why: gap, cut, conflict, memory, begin_not_captured, capture_end, replaced")
	add("unjudged.offers", "of missing: those with an offer that was read")
	add("unjudged.share", "by how much shares may be wrong for what is missing")
	add("capture.source", "a file, how many, or the interface")
	add("capture.packets", "read")
	add("capture.bytes", "read")
	add("capture.dropped_by_kernel", "packets")
	add("capture.cut_by_snap_length", "packets")
	add("capture.of_unknown_link_type", "packets")
	add("capture.ended", "why the source ended before its end; not there otherwise")
	return all
}

// WriteFields prints what each field of the JSON means.
func WriteFields(w io.Writer) error {
	for _, f := range fields() {
		if _, err := fmt.Fprintf(w, "%-42s %s\n", f.path, f.meaning); err != nil {
			return err
		}
	}
	return nil
}

package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"homing/bench/tlscore"
)

// Codes of findings. A problem loses resumptions; a note is good to know.
const (
	// Problems at one address.
	CodeApart          = "backends_apart"          // several backends, each with keys and caches of its own
	CodeCacheApart     = "session_caches_apart"    // several backends or processes that share the ticket key, and no session cache
	CodeNoCache        = "no_session_cache"        // session IDs are given and never accepted, tickets are fine
	CodeNoCacheAtAll   = "nothing_kept"            // session IDs are given and never accepted, and there are no tickets
	CodeTicketRefused  = "tickets_refused"         // tickets of one key are never accepted
	CodeTicketsUnnamed = "tickets_refused_unnamed" // the same of tickets that do not name their key
	CodeNoneAccepted   = "nothing_accepted"        // whatever is given is never accepted, for no reason that can be seen
	CodeMixed          = "tickets_off_at_some"     // several backends of which some give tickets and others none
	CodeBound          = "shared_key_refused"      // servers that have the ticket key refuse tickets under it
	CodeRenewed        = "renewed_refused"         // sessions that resumed conns give are refused
	CodeChanged        = "changed_meanwhile"       // something has changed while it was examined
	CodeMomentary      = "refused_at_times"        // few offers are refused, and accepted later
	CodeUnsure         = "refused_unclear"         // the counts tell not enough
	CodeNothingIssued  = "nothing_issued"          // TLS 1.2 gives neither IDs nor tickets
	CodeNoTickets13    = "no_tls13_tickets"        // TLS 1.3 gives no tickets
	CodeAcross         = "addresses_apart"         // what one address gives the next does not accept
	CodeAcrossCache    = "addresses_caches_apart"  // the same for session IDs alone
	CodeBalancers      = "balancers_apart"         // two balancers before the same backends
	CodeBySource       = "by_client_address"       // sessions come home only from the same client address
	// Notes.
	CodeOneSource   = "one_client_address"
	CodeClientCert  = "client_certificate_asked"
	CodeUnreachable = "not_examined"
	CodeSkipped     = "no_way_there"
	CodeFailed      = "conns_failed"
	CodeOnly12      = "tls12_only"
	CodeOnly13      = "tls13_only"
	CodeNotTried    = "not_tried"
	CodeIDsEmpty    = "session_ids_empty"
	CodeNoTickets12 = "no_tls12_tickets"
	CodeStateful    = "tls13_stateful"
	CodeSingleUse   = "tickets_single_use"
	CodeShortLived  = "tickets_short_lived"
	CodeSeveral     = "several_ticket_keys"
)

// shortLived is the lifetime in seconds below which a ticket is worth a note: nginx has 300 s by default, and who comes back within
// a page view is done in less than this.
const shortLived = 120

// Judge derives what a report says from what was seen.
func Judge(r *Report) {
	r.Findings, r.Fixes, r.Lost, r.Incomplete = []Finding{}, []Fix{}, false, false
	for i := range r.Addresses {
		for _, f := range judgeAddress(&r.Addresses[i]) {
			r.add(f)
		}
		a := &r.Addresses[i]
		r.Incomplete = r.Incomplete || !a.examined() && !a.Skipped
	}
	for i := range r.Across {
		if f := judgeAcross(r, &r.Across[i]); f != nil {
			r.add(*f)
		}
	}
	if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Problem }) {
		r.noteSource()
	}
	// All addresses skipped is nothing examined.
	r.Incomplete = r.Incomplete || !slices.ContainsFunc(r.Addresses, func(a Address) bool { return a.examined() })
	problems := slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool { return !f.Problem })
	r.Lost = len(problems) > 0
	r.Findings = append(problems, slices.DeleteFunc(r.Findings, func(f Finding) bool { return f.Problem })...)
	r.Fixes = fixes(r)
	r.Caching = "Session resumption (caching): " + r.sentence(tlscore.OfferID)
	r.Tickets = "Session resumption (tickets): " + r.sentence(tlscore.OfferTicket)
	r.TLS13 = "Session resumption (TLS 1.3): " + r.sentence(tlscore.OfferPSK)
}

// noteSource notes that affinity by the client's address would look as good as what was seen. Where several servers were
// told apart and every session found its own, it is not that.
func (r *Report) noteSource() {
	moved := slices.ContainsFunc(r.Across, func(x Across) bool { return x.ToSource != "" })
	for i := range r.Addresses {
		a := &r.Addresses[i]
		given := a.SessionID.Accepted+a.Ticket.Accepted+a.PSK.Accepted > 0
		if !a.examined() || moved || !given || max(len(a.keys()), a.Ticket.Kinds, a.PSK.Kinds) > 1 {
			continue
		}
		r.add(Finding{
			Code: CodeOneSource, Addresses: []string{a.Addr},
			Text: say("one source", nil),
		})
	}
}

// add adds a finding, to one that says the same of another address where there is one.
func (r *Report) add(f Finding) {
	for i := range r.Findings {
		if have := &r.Findings[i]; have.Code == f.Code && have.Text == f.Text {
			for _, addr := range f.Addresses {
				if !slices.Contains(have.Addresses, addr) {
					have.Addresses = append(have.Addresses, addr)
				}
			}
			if !strings.Contains(have.Evidence, f.Evidence) {
				have.Evidence += "; " + f.Evidence
			}
			return
		}
	}
	r.Findings = append(r.Findings, f)
}

// judgeAddress returns what is to be said of one address.
func judgeAddress(a *Address) []Finding {
	addresses := []string{a.Addr}
	switch {
	case a.Skipped:
		return []Finding{{Code: CodeSkipped, Addresses: addresses, Text: say("skipped", nil)}}
	case !a.examined():
		return []Finding{{Code: CodeUnreachable, Addresses: addresses, Text: sentenceOf(a.Error)}}
	}
	var list []Finding
	if f := cause(a); f != nil {
		f.Problem, f.Addresses = true, addresses
		list = append(list, *f)
	}
	f := factsOf(a)
	id, ticket, psk := &a.SessionID, &a.Ticket, &a.PSK
	issues := func(p *Probe) bool { return p.Verdict != NotIssued && p.Verdict != NotTried }
	classic := id.Verdict != NotTried || ticket.Verdict != NotTried
	short := f.Shortest()
	for _, n := range []struct {
		is, problem bool
		code, text  string
	}{
		{id.Verdict == NotIssued && ticket.Verdict == NotIssued, true, CodeNothingIssued, "nothing issued"},
		{psk.Verdict == NotIssued, true, CodeNoTickets13, "no TLS 1.3 tickets"},
		{len(f.Keys) > 1 && !ticket.lost() && !psk.lost(), false, CodeSeveral, "several keys"},
		{f.Failed() > 0, false, CodeFailed, "failed"},
		{classic && psk.Refused, false, CodeOnly12, "only 1.2"},
		{!classic && id.Refused, false, CodeOnly13, "only 1.3"},
		{classic && psk.Verdict == NotTried && !psk.Refused, false, CodeNotTried, "1.3 not tried"},
		{!classic && !id.Refused, false, CodeNotTried, "1.2 not tried"},
		{classic && (id.Verdict == NotTried) != (ticket.Verdict == NotTried), false, CodeNotTried, "a kind not tried"},
		{id.Verdict == NotIssued && issues(ticket), false, CodeIDsEmpty, "no IDs"},
		{ticket.Verdict == NotIssued && issues(id), false, CodeNoTickets12, "no TLS 1.2 tickets"},
		{psk.Stateful && psk.EntryTickets < psk.Issued, false, CodeStateful, "some stateful"},
		{psk.Stateful && psk.EntryTickets == psk.Issued, false, CodeStateful, "stateful"},
		{ticket.SingleUse || psk.SingleUse, false, CodeSingleUse, "single use"},
		{a.AsksClient, false, CodeClientCert, "client certificate"},
		{short > 0 && short < shortLived, false, CodeShortLived, "short lived"},
	} {
		if n.is {
			list = append(list, Finding{Code: n.code, Problem: n.problem, Addresses: addresses, Text: say(n.text, f)})
		}
	}
	return list
}

func also(is bool, text string) string {
	if is {
		return text
	}
	return ""
}

// keyNames lists keys for people: the first eight hex digits tell them apart.
func keyNames(keys []Key) string {
	const most, digits = 6, 8
	var list []string
	for _, k := range keys[:min(len(keys), most)] {
		list = append(list, k.Name[:min(len(k.Name), digits)]+also(len(k.Name) > digits, "..."))
	}
	if len(keys) > most {
		list = append(list, fmt.Sprintf("%d more", len(keys)-most))
	}
	return strings.Join(list, ", ")
}

// sentence is what a scanner prints of one kind.
func (r *Report) sentence(k tlscore.Kind) string {
	var here, there, moved Offers
	issued, tried, refused := false, false, true
	reason := ""
	for i := range r.Addresses {
		a := &r.Addresses[i]
		p := a.probe(k)
		if !a.examined() {
			continue
		}
		issued = issued || p.Verdict == No || p.Verdict == Partly || p.Verdict == Yes
		tried = tried || p.Verdict != NotTried
		refused = refused && p.Refused
		if p.Verdict == NotTried {
			reason = p.Error
		}
		here.Offered += p.Offered
		here.Accepted += p.Accepted
	}
	for i := range r.Across {
		o := r.Across[i].offers(k)
		sum := &there
		if r.Across[i].ToSource != "" {
			sum = &moved
		}
		sum.Offered += o.Offered
		sum.Accepted += o.Accepted
	}
	version := "TLS 1.2"
	if k == tlscore.OfferPSK {
		version = "TLS 1.3"
	}
	id := k == tlscore.OfferID
	part := func(format string, o Offers) string {
		return fmt.Sprintf(format+" (%d of %d accepted)", o.Accepted, o.Offered)
	}
	for _, s := range []struct {
		is   bool
		text string
	}{
		{!tried && reason == "", "not examined"},
		{!tried && refused, fmt.Sprintf("No (%s is not spoken)", version)},
		{!tried, fmt.Sprintf("not examined (%s)", reason)},
		{!issued && id, "No (IDs empty)"},
		{!issued, "No (no tickets issued)"},
		{here.Accepted == 0 && id, "No (IDs assigned but not accepted)"},
		{here.Accepted == 0, "No (tickets issued but not accepted)"},
		{here.lost(), part("Partly", here)},
		{moved.lost(), part("Yes from the same client address, not from the next", moved)},
		{there.lost(), part("Yes at the same address, not at the next", there)},
	} {
		if s.is {
			return s.text
		}
	}
	return "Yes"
}

// sentenceOf makes a sentence of an error.
func sentenceOf(s string) string {
	if s == "" {
		return "Nothing was seen."
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

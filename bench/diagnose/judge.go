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
	CodeNothingIssued  = "nothing_issued"          // TLS 1.2 gives neither IDs nor tickets
	CodeNoTickets13    = "no_tls13_tickets"        // TLS 1.3 gives no tickets
	CodeAcross         = "addresses_apart"         // what one address gives the next does not accept
	CodeAcrossCache    = "addresses_caches_apart"  // the same for session IDs alone
	// Notes.
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
	// All addresses skipped is nothing examined.
	r.Incomplete = r.Incomplete || !slices.ContainsFunc(r.Addresses, func(a Address) bool { return a.examined() })
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		switch {
		case a.Problem == b.Problem:
			return 0
		case a.Problem:
			return -1
		default:
			return 1
		}
	})
	r.Lost = len(r.Findings) > 0 && r.Findings[0].Problem
	r.Fixes = fixes(r)
	r.Caching = "Session resumption (caching): " + r.sentence(tlscore.OfferID)
	r.Tickets = "Session resumption (tickets): " + r.sentence(tlscore.OfferTicket)
	r.TLS13 = "Session resumption (TLS 1.3): " + r.sentence(tlscore.OfferPSK)
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
			return
		}
	}
	r.Findings = append(r.Findings, f)
}

// judgeAddress returns what is to be said of one address.
func judgeAddress(a *Address) []Finding {
	var list []Finding
	say := func(problem bool, code, text string) {
		list = append(list, Finding{Code: code, Problem: problem, Addresses: []string{a.Addr}, Text: text})
	}
	switch {
	case a.Skipped:
		say(false, CodeSkipped, "This machine has no way to the address, so nothing is known of it.")
		return list
	case !a.examined():
		say(false, CodeUnreachable, sentenceOf(a.Error))
		return list
	}
	if code, text := cause(a); code != "" {
		say(true, code, text)
	}
	if a.SessionID.Verdict == NotIssued && a.Ticket.Verdict == NotIssued {
		say(true, CodeNothingIssued, "In TLS 1.2 the server gives neither session IDs nor tickets: every conn is a full handshake.")
	}
	if a.PSK.Verdict == NotIssued {
		say(true, CodeNoTickets13, "In TLS 1.3 the server gives no tickets: every conn is a full handshake.")
	}
	for _, n := range notes(a) {
		say(false, n.Code, n.Text)
	}
	return list
}

// cause says why offers are refused at an address, empty when none are. There is a sentence for whatever was seen.
func cause(a *Address) (code, text string) {
	id, ticket, psk := &a.SessionID, &a.Ticket, &a.PSK
	keys := a.keys()
	ticketsLost := ticket.lost() || psk.lost()
	switch {
	case !id.lost() && !ticketsLost:
		return "", ""
	case ticketsLost && len(keys) > 1:
		return CodeApart, fmt.Sprintf("At least %d backends stand behind this address, each with a ticket key of its own (%s)%s. "+
			"A session is good only at the backend that gave it.", len(keys), keyNames(keys), also(id.lost(), " and a session cache of its own"))
	case ticketsLost && (ticket.several() || psk.several()):
		return CodeApart, fmt.Sprintf("Several backends stand behind this address (the same session is accepted at times and refused at others), "+
			"each with a ticket key%s of its own. A session is good only at the backend that gave it.", also(id.lost(), " and a session cache"))
	case ticketsLost && id.several():
		return CodeApart, "Several backends stand behind this address (the same session ID is accepted at times and refused at others), " +
			"each with a session cache and a ticket key of its own. A session is good only at the backend that gave it."
	case ticketsLost && !id.lost() && len(keys) == 1:
		return CodeTicketRefused, fmt.Sprintf("The server refuses the tickets that it gives (key %s): it may let them expire at once, "+
			"draw a new key under the same name, or reject them by a rule of its own.", keyNames(keys))
	case ticketsLost && !id.lost():
		return CodeTicketsUnnamed, "The server refuses the tickets that it gives. They do not name their key, so it cannot be seen whether " +
			"several backends with keys of their own stand behind this address or one server that does not keep its key."
	case ticketsLost:
		return CodeNoneAccepted, fmt.Sprintf("Nothing that the server gives is ever accepted%s: more backends than tries stand behind this address, "+
			"each on its own, or one server keeps neither a session cache nor its ticket key.", also(len(keys) == 1, " (tickets of the key "+keyNames(keys)+")"))
	case id.several() && (ticket.Verdict == Yes || psk.Verdict == Yes):
		return CodeCacheApart, "Session IDs are known to some of those that answer at this address and not to others, while tickets are accepted by all: " +
			"several backends share a ticket key and no session cache, or one server has a cache for each of its processes."
	case id.several():
		return CodeApart, "Several backends, or processes of one, stand behind this address, each with a session cache of its own: " +
			"the same session ID is accepted at times and refused at others."
	case psk.Verdict == Yes && ticket.Verdict != Yes:
		return CodeNoCache, "In TLS 1.2 the server gives session IDs and accepts none, and its tickets are good in TLS 1.3 only: it keeps no session cache, " +
			"or several backends share a ticket key and no cache. Every conn of a TLS 1.2 client is a full handshake."
	case ticket.Verdict == Yes:
		return CodeNoCache, "The server gives session IDs and accepts none, while its tickets are good: it keeps no session cache, " +
			"or several backends share a ticket key and no cache. Clients without tickets start anew at every conn."
	default:
		return CodeNoCacheAtAll, "The server gives session IDs and accepts none, and there are no tickets to make up for it: it keeps no session cache, " +
			"or more backends than tries stand behind this address, each with a cache of its own. Every conn is a full handshake."
	}
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

// judgeAcross says what becomes of the sessions of one address at another, nil when all is well, or no worse than at home.
func judgeAcross(r *Report, x *Across) *Finding {
	from := r.address(x.From)
	lost := func(k tlscore.Kind) bool { return x.offers(k).lost() && !from.probe(k).lost() }
	id, ticket, psk := lost(tlscore.OfferID), lost(tlscore.OfferTicket), lost(tlscore.OfferPSK)
	f := &Finding{Problem: true, Addresses: []string{x.From, x.To}}
	next := "A client whose next conn goes to the other address, as with a name that has both, starts anew."
	switch {
	case ticket || psk:
		f.Code = CodeAcross
		f.Text = fmt.Sprintf("Sessions of one address are refused at the other: the servers share neither %s. %s",
			also(id, "a session cache nor ")+"a ticket key", next)
		if !id {
			f.Text = "Tickets of one address are refused at the other: the servers do not share a ticket key. " + next
		}
	case id:
		f.Code = CodeAcrossCache
		f.Text = "Session IDs of one address are refused at the other: the servers share no session cache" +
			also(x.SameKey, ", though they share a ticket key") + ". " + next
	default:
		return nil
	}
	return f
}

func (r *Report) address(addr string) *Address {
	for i := range r.Addresses {
		if r.Addresses[i].Addr == addr && r.Addresses[i].examined() {
			return &r.Addresses[i]
		}
	}
	return &Address{}
}

// notes returns what is good to know of an address. Code and Text are set.
func notes(a *Address) []Finding {
	var list []Finding
	note := func(is bool, code, format string, args ...any) {
		if is {
			list = append(list, Finding{Code: code, Text: fmt.Sprintf(format, args...)})
		}
	}
	id, ticket, psk := &a.SessionID, &a.Ticket, &a.PSK
	keys := a.keys()
	note(len(keys) > 1 && !ticket.lost() && !psk.lost(), CodeSeveral, "%d ticket keys are in use at this address (%s), and every session is accepted: "+
		"several backends stand behind it and sessions find their own, or a server has just changed its key.", len(keys), keyNames(keys))
	failed := id.Failed + ticket.Failed + psk.Failed
	note(failed > 0, CodeFailed, "%d conns came to no end while others did: a backend may be down.", failed)
	classic := id.Verdict != NotTried || ticket.Verdict != NotTried
	note(classic && psk.Refused, CodeOnly12, "The server does not speak TLS 1.3.")
	note(!classic && id.Refused, CodeOnly13, "The server does not speak TLS 1.2.")
	note(classic && psk.Verdict == NotTried && !psk.Refused, CodeNotTried, "TLS 1.3 was not examined: %s.", psk.Error)
	note(!classic && !id.Refused, CodeNotTried, "TLS 1.2 was not examined: %s.", id.Error)
	note(classic && (id.Verdict == NotTried) != (ticket.Verdict == NotTried), CodeNotTried,
		"One kind of TLS 1.2 client was not examined: %s.", id.Error+ticket.Error)
	note(id.Verdict == NotIssued && ticket.Verdict != NotIssued && ticket.Verdict != NotTried, CodeIDsEmpty,
		"In TLS 1.2 the server gives no session IDs: clients without tickets start anew at every conn.")
	note(ticket.Verdict == NotIssued && id.Verdict != NotIssued && id.Verdict != NotTried, CodeNoTickets12,
		"In TLS 1.2 the server gives no tickets: clients that resume by ticket alone, as Firefox does, start anew at every conn.")
	note(psk.Stateful, CodeStateful,
		"The TLS 1.3 tickets (%d bytes) are only names of entries in the server's memory: no other server can accept them, whatever key they share.", psk.TicketBytes)
	single := ticket.SingleUse || psk.SingleUse
	note(single, CodeSingleUse, "A ticket is accepted once only: clients that open several conns at a time run out of tickets.")
	short := shortest(ticket, psk)
	note(short > 0 && short < shortLived, CodeShortLived, "Tickets are good for %d s: clients that come back later start anew.", short)
	return list
}

// shortest returns the shortest lifetime in seconds that was given, 0 without one.
func shortest(list ...*Probe) int {
	short := 0
	for _, p := range list {
		if n := p.LifetimeSeconds; n > 0 && (short == 0 || n < short) {
			short = n
		}
	}
	return short
}

// sentence is what a scanner prints of one kind.
func (r *Report) sentence(k tlscore.Kind) string {
	var here, there Offers
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
		there.Offered += o.Offered
		there.Accepted += o.Accepted
	}
	version := "TLS 1.2"
	if k == tlscore.OfferPSK {
		version = "TLS 1.3"
	}
	switch {
	case !tried && reason == "":
		return "not examined"
	case !tried && refused:
		return fmt.Sprintf("No (%s is not spoken)", version)
	case !tried:
		return fmt.Sprintf("not examined (%s)", reason)
	case !issued && k == tlscore.OfferID:
		return "No (IDs empty)"
	case !issued:
		return "No (no tickets issued)"
	case here.Accepted == 0 && k == tlscore.OfferID:
		return "No (IDs assigned but not accepted)"
	case here.Accepted == 0:
		return "No (tickets issued but not accepted)"
	case here.lost():
		return fmt.Sprintf("Partly (%d of %d accepted)", here.Accepted, here.Offered)
	case there.lost():
		return fmt.Sprintf("Yes at the same address, not at the next (%d of %d accepted)", there.Accepted, there.Offered)
	default:
		return "Yes"
	}
}

// sentenceOf makes a sentence of an error.
func sentenceOf(s string) string {
	if s == "" {
		return "Nothing was seen."
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

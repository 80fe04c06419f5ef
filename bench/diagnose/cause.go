package diagnose

import (
	"fmt"
	"slices"
	"strings"
)

// What settles a judgement that is not certain.
const (
	settleMore  = "more offers (--tries 50)"
	settleLater = "the same again, later"
	settleName  = "the same with another name (--sni), and each server by itself (HOST:PORT of each)"
	settleEach  = "each server by itself (HOST:PORT of each)"
)

// cause says why offers are refused at an address, nil when none are. There is a sentence for whatever was seen. What tells
// servers apart comes first: it proves that there are several. Counts come next.
func cause(a *Address) *Finding {
	ticketsLost := a.Ticket.lost() || a.PSK.lost()
	if !a.SessionID.lost() && !ticketsLost {
		return nil
	}
	f := toldApart(a, ticketsLost)
	if f == nil {
		f = counted(a, ticketsLost)
	}
	f.Evidence = strings.Join(slices.DeleteFunc([]string{f.Evidence, counts(a)}, func(s string) bool { return s == "" }), "; ")
	return f
}

// toldApart judges by what tells servers apart, nil where nothing does.
func toldApart(a *Address, ticketsLost bool) *Finding {
	id, ticket, psk := &a.SessionID, &a.Ticket, &a.PSK
	keys := a.keys()
	least := max(len(keys), ticket.Kinds, psk.Kinds)
	turns := ticket.TakingTurns || psk.TakingTurns
	switch {
	case (ticketsLost || id.lost()) && (ticket.mixed() || psk.mixed()):
		return &Finding{Code: CodeMixed, Certainty: Certain, Text: fmt.Sprintf("At least %d backends stand behind this address, and they do not all give tickets%s. "+
			"A session of one that gives none is good only there, and its tickets mean nothing to it.", least,
			also(len(keys) > 0, fmt.Sprintf(" (those that do: under %d key%s, %s)", len(keys), also(len(keys) > 1, "s"), keyNames(keys)))), Evidence: mixture(a)}
	case ticketsLost && len(keys) > 1 && !turns:
		return &Finding{Code: CodeChanged, Certainty: Likely, Settle: settleLater, Text: fmt.Sprintf("The ticket key has changed while the address was examined (%s), "+
			"and tickets of before are refused: a server was reloaded or restarted, or another backend has taken over.", keyNames(keys))}
	case ticketsLost && len(keys) > 1:
		return &Finding{Code: CodeApart, Certainty: Certain, Text: fmt.Sprintf("At least %d backends stand behind this address, each with a ticket key of its own (%s)%s. "+
			"A session is good only at the backend that gave it.", least, keyNames(keys), also(id.lost(), " and a session cache of its own")), Evidence: "the keys take turns"}
	}
	return nil
}

// counted judges by counts.
func counted(a *Address, ticketsLost bool) *Finding {
	id, ticket, psk := &a.SessionID, &a.Ticket, &a.PSK
	losses := []loss{id.loss(), ticket.loss(), psk.loss()}
	is := func(l loss) bool { return slices.Contains(losses, l) }
	keys := a.keys()
	switch {
	case is(spread):
		return several(a, ticketsLost)
	case is(unsure):
		return &Finding{Code: CodeUnsure, Certainty: Open, Settle: settleMore + ", and " + settleEach, Text: "Some offers are refused, more than one server would refuse now and then and fewer " +
			"than backends in turn would: backends of unequal weight, or a server that loses sessions (a full cache, several processes)."}
	case !slices.ContainsFunc(losses, func(l loss) bool { return l != noLoss && l != never }):
		return neverAccepted(a, ticketsLost)
	case is(renewedLost):
		return &Finding{Code: CodeRenewed, Certainty: Likely, Settle: settleMore, Text: "One server stands behind this address, or several that share all, and it refuses the sessions " +
			"that it gives in resumed conns, while it accepts those of full handshakes: every second conn of a client that takes the newest is a full handshake." +
			also(psk.Stateful, " Its TLS 1.3 tickets are only names of entries in its memory.")}
	case is(changed):
		return &Finding{Code: CodeChanged, Certainty: Open, Settle: settleLater, Text: "A session was refused each time, and one that came later accepted each time: something has changed " +
			"while the address was examined (a server restarted, a backend gone), or a server refuses some by a rule of its own."}
	}
	return &Finding{
		Code: CodeMomentary, Certainty: Likely, Settle: settleMore, Text: "Offers are refused now and then, and the same sessions accepted later: that is not how several backends look that do not " +
			"know each other's sessions. One server was not ready, or a balancer has learned meanwhile whose they are" + also(len(keys) == 1, " (key "+keyNames(keys)+")") + ".",
	}
}

// several judges where sessions are accepted at times and refused at others.
func several(a *Address, ticketsLost bool) *Finding {
	id, ticket, psk := &a.SessionID, &a.Ticket, &a.PSK
	keys := a.keys()
	byHolder := ticket.RefusedBySameKey + psk.RefusedBySameKey
	f := &Finding{Code: CodeApart, Certainty: Likely, Settle: settleMore + ", or " + settleEach}
	switch {
	case ticketsLost && byHolder > 0 && ticket.RefusedByOther+psk.RefusedByOther == 0:
		f.Code, f.Settle = CodeBound, settleName
		f.Evidence = fmt.Sprintf("%d tickets under this key were refused by servers that give tickets under it", byHolder)
		f.Text = fmt.Sprintf("Servers that have the same ticket key (%s) refuse each other's tickets%s: they bind sessions to something else that differs. "+
			"Node.js does, to a hash of its command line unless sessionIdContext says what; others to a server name, or to the authorities for client certificates.",
			keyNames(keys), also(id.lost(), ", and share no session cache"))
	case ticketsLost && (ticket.loss() == spread || psk.loss() == spread):
		f.Text = fmt.Sprintf("Several backends stand behind this address (the same session is accepted at times and refused at others), "+
			"each with a ticket key%s of its own. A session is good only at the backend that gave it.", also(id.lost(), " and a session cache"))
	case ticketsLost:
		f.Text = "Several backends stand behind this address (the same session ID is accepted at times and refused at others), " +
			"each with a session cache and a ticket key of its own. A session is good only at the backend that gave it."
	case ticket.Verdict == Yes || psk.Verdict == Yes:
		f.Code = CodeCacheApart
		f.Text = "Session IDs are known to some of those that answer at this address and not to others, while tickets are accepted by all: " +
			"several backends share a ticket key and no session cache, or one server has a cache for each of its processes."
	default:
		f.Text = "Several backends, or processes of one, stand behind this address, each with a session cache of its own: " +
			"the same session ID is accepted at times and refused at others."
	}
	return f
}

// neverAccepted judges where a kind of session is never accepted.
func neverAccepted(a *Address, ticketsLost bool) *Finding {
	id, ticket, psk := &a.SessionID, &a.Ticket, &a.PSK
	keys := a.keys()
	f := &Finding{Certainty: Likely, Settle: settleMore + " tells it from more backends than tries"}
	switch {
	case ticketsLost && !id.lost() && len(keys) == 1:
		f.Code = CodeTicketRefused
		f.Text = fmt.Sprintf("The server refuses the tickets that it gives (key %s): it may let them expire at once, "+
			"draw a new key under the same name, or reject them by a rule of its own.", keyNames(keys))
	case ticketsLost && !id.lost():
		f.Code, f.Certainty, f.Settle = CodeTicketsUnnamed, Open, settleMore+", or "+settleEach
		f.Text = "The server refuses the tickets that it gives. They do not name their key, so it cannot be seen whether " +
			"several backends with keys of their own stand behind this address or one server that does not keep its key."
	case ticketsLost:
		f.Code, f.Certainty, f.Settle = CodeNoneAccepted, Open, settleMore+", or "+settleEach
		f.Text = fmt.Sprintf("Nothing that the server gives is ever accepted%s: more backends than tries stand behind this address, "+
			"each on its own, or one server keeps neither a session cache nor its ticket key.", also(len(keys) == 1, " (tickets of the key "+keyNames(keys)+")"))
	case psk.Verdict == Yes && ticket.Verdict != Yes:
		f.Code = CodeNoCache
		f.Text = "In TLS 1.2 the server gives session IDs and accepts none, and its tickets are good in TLS 1.3 only: it keeps no session cache, " +
			"or several backends share a ticket key and no cache. Every conn of a TLS 1.2 client is a full handshake."
	case ticket.Verdict == Yes:
		f.Code = CodeNoCache
		f.Text = "The server gives session IDs and accepts none, while its tickets are good: it keeps no session cache, " +
			"or several backends share a ticket key and no cache. Clients without tickets start anew at every conn."
	default:
		f.Code = CodeNoCacheAtAll
		f.Text = "The server gives session IDs and accepts none, and there are no tickets to make up for it: it keeps no session cache, " +
			"or more backends than tries stand behind this address, each with a cache of its own. Every conn is a full handshake."
	}
	return f
}

// mixture says how many handshakes gave tickets and how many none.
func mixture(a *Address) string {
	var list []string
	if p := &a.Ticket; p.mixed() {
		list = append(list, fmt.Sprintf("%d of %d full handshakes of TLS 1.2 gave no ticket", p.WithoutTicket, p.Fresh))
	}
	if p := &a.PSK; p.mixed() {
		text := fmt.Sprintf("%d of %d of TLS 1.3 gave none", p.WithoutTicket, p.Fresh)
		if p.EntryTickets > 0 {
			text = fmt.Sprintf("%d of %d of TLS 1.3 gave only names of entries in the server's memory", p.EntryTickets, p.Fresh)
		}
		list = append(list, text)
	}
	return strings.Join(list, ", ")
}

// counts says what was accepted of the kinds of which offers are refused.
func counts(a *Address) string {
	var list []string
	names := []string{"session IDs", "TLS 1.2 tickets", "TLS 1.3 tickets"}
	for i, k := range kinds() {
		p := a.probe(k)
		if !p.lost() {
			continue
		}
		text := fmt.Sprintf("%s: %d of %d accepted", names[i], p.Accepted, p.Offered)
		if p.RefusedAgainOffered > 0 {
			text += fmt.Sprintf(", of a refused one again %d of %d", p.RefusedAgainAccepted, p.RefusedAgainOffered)
		}
		if p.AgainOffered > 0 {
			text += fmt.Sprintf(", of one that came with the refusal %d of %d", p.AgainAccepted, p.AgainOffered)
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

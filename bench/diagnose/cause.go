package diagnose

import (
	_ "embed" // the sentences
	"fmt"
	"slices"
	"strings"
	"text/template"
)

// What settles a judgement that is not certain.
const (
	settleMore  = "more offers (--tries 50)"
	settleLater = "the same again, later"
	settleName  = "the same with another name (--sni), and each server by itself (HOST:PORT of each)"
	settleEach  = "each server by itself (HOST:PORT of each)"
)

// findingTexts are the sentences of findings.
//
//go:embed findings.tmpl
var findingTexts string

var texts = template.Must(template.New("findings").Parse(findingTexts)) //nolint:gochecknoglobals // a constant, but for the language

// say returns the sentence of that name.
func say(name string, data any) string {
	var b strings.Builder
	if err := texts.ExecuteTemplate(&b, name, data); err != nil {
		panic(err) // a mistake in this package
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// facts are what the sentences on an address speak of.
type facts struct {
	*Address
	Keys   []Key
	Least  int  // how many servers there are at least
	IDLost bool // session IDs are refused
}

func factsOf(a *Address) *facts {
	keys := a.keys()
	return &facts{Address: a, Keys: keys, Least: max(len(keys), a.Ticket.Kinds, a.PSK.Kinds), IDLost: a.SessionID.lost()}
}

// KeyNames lists the keys for people: the first eight hex digits tell them apart.
func (f *facts) KeyNames() string { return keyNames(f.Keys) }

// Failed counts the conns that came to no end.
func (f *facts) Failed() int { return f.SessionID.Failed + f.Ticket.Failed + f.PSK.Failed }

// Shortest is the shortest lifetime in seconds that a ticket was given, 0 without one.
func (f *facts) Shortest() int {
	short := min(f.Ticket.LifetimeSeconds, f.PSK.LifetimeSeconds)
	if short == 0 {
		return max(f.Ticket.LifetimeSeconds, f.PSK.LifetimeSeconds)
	}
	return short
}

// reason is something that refused offers come from.
type reason struct {
	is        bool
	code      string
	certainty Certainty
	settle    string
	text      string // its name
	evidence  string
}

// finding is that of the first reason that is.
func finding(list []reason, data any) *Finding {
	r := list[slices.IndexFunc(list, func(r reason) bool { return r.is })]
	return &Finding{Code: r.code, Certainty: r.certainty, Settle: r.settle, Text: say(r.text, data), Evidence: r.evidence}
}

// cause says why offers are refused at an address, nil when none are. There is a sentence for whatever was seen. What tells
// servers apart comes first: it proves that there are several. Counts come next.
func cause(a *Address) *Finding {
	f := factsOf(a)
	id, ticket, psk := &a.SessionID, &a.Ticket, &a.PSK
	lost := ticket.lost() || psk.lost()
	if !id.lost() && !lost {
		return nil
	}
	turns, keys := ticket.TakingTurns || psk.TakingTurns, len(f.Keys)
	byHolder, byOther := ticket.RefusedBySameKey+psk.RefusedBySameKey, ticket.RefusedByOther+psk.RefusedByOther
	losses := []loss{id.loss(), ticket.loss(), psk.loss()}
	how := func(l loss) bool { return slices.Contains(losses, l) }
	atTimes := how(spread) // sessions are accepted at times, and refused at others
	none := !slices.ContainsFunc(losses, func(l loss) bool { return l != noLoss && l != never })
	const (
		settleOr   = settleMore + ", or " + settleEach
		settleAnd  = settleMore + ", and " + settleEach
		settleMany = settleMore + " tells it from more backends than tries"
	)
	held := fmt.Sprintf("%d tickets under this key were refused by servers that give tickets under it", byHolder)
	found := finding([]reason{
		{ticket.mixed() || psk.mixed(), CodeMixed, Certain, "", "mixed", mixture(a)},
		{lost && keys > 1 && !turns, CodeChanged, Likely, settleLater, "another key", ""},
		{lost && keys > 1, CodeApart, Certain, "", "apart by key", "the keys take turns"},

		{atTimes && lost && byHolder > 0 && byOther == 0, CodeBound, Likely, settleName, "bound", held},
		{atTimes && lost && (ticket.loss() == spread || psk.loss() == spread), CodeApart, Likely, settleOr, "apart", ""},
		{atTimes && lost, CodeApart, Likely, settleOr, "apart by ID", ""},
		{atTimes && (ticket.Verdict == Yes || psk.Verdict == Yes), CodeCacheApart, Likely, settleOr, "caches apart", ""},
		{atTimes, CodeApart, Likely, settleOr, "caches apart, no tickets", ""},

		{how(unsure), CodeUnsure, Open, settleAnd, "unsure", ""},

		{none && lost && !id.lost() && keys == 1, CodeTicketRefused, Likely, settleMany, "tickets refused", ""},
		{none && lost && !id.lost(), CodeTicketsUnnamed, Open, settleOr, "unnamed tickets refused", ""},
		{none && lost, CodeNoneAccepted, Open, settleOr, "nothing accepted", ""},
		{none && psk.Verdict == Yes && ticket.Verdict != Yes, CodeNoCache, Likely, settleMany, "no cache, tickets of TLS 1.3", ""},
		{none && ticket.Verdict == Yes, CodeNoCache, Likely, settleMany, "no cache", ""},
		{none, CodeNoCacheAtAll, Likely, settleMany, "nothing kept", ""},

		{how(renewedLost), CodeRenewed, Likely, settleMore, "renewed", ""},
		{how(changed), CodeChanged, Open, settleLater, "changed", ""},
		{true, CodeMomentary, Likely, settleMore, "momentary", ""},
	}, f)
	found.Evidence = strings.Join(slices.DeleteFunc([]string{found.Evidence, counts(a)}, func(s string) bool { return s == "" }), "; ")
	return found
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

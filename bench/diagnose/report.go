package diagnose

import (
	"net/netip"
	"strings"

	"homing/bench/tlscore"
)

// FormatVersion is the version of the JSON that a Report is written as. It changes when a field changes its meaning or
// goes; fields may be added.
const FormatVersion = 1

// Report is all that was seen, and what it means.
type Report struct {
	Format    int       `json:"format"`
	Tries     int       `json:"tries"`
	Addresses []Address `json:"addresses"`
	// Across holds what became of sessions carried from one address to the next, empty for one address.
	Across []Across `json:"across"`

	// Caching, Tickets and TLS13 are the sentences that scanners print.
	Caching string `json:"caching"`
	Tickets string `json:"tickets"`
	TLS13   string `json:"tls13"`
	// Lost says that resumptions are lost; Incomplete, that an address could not be examined.
	Lost       bool      `json:"lost"`
	Incomplete bool      `json:"incomplete"`
	Findings   []Finding `json:"findings"`
	Fixes      []Fix     `json:"fixes"`
}

// Address is one address, and what was seen there.
type Address struct {
	// Target is what was asked for, Addr the IP address and port it led to, Name the server name sent.
	Target string `json:"target"`
	Addr   string `json:"address"`
	Name   string `json:"server_name"`
	// Error says why nothing could be seen; then the kinds are empty.
	Error string `json:"error,omitempty"`
	// Skipped says that this machine has no way to the address, which is not held against it.
	Skipped bool `json:"skipped,omitempty"`

	SessionID Probe `json:"session_id"`
	Ticket    Probe `json:"ticket"`
	PSK       Probe `json:"psk"`
	// Schannel says that the session IDs look like those of Schannel: IIS and other Windows servers.
	Schannel bool `json:"schannel"`
	// AsksClient says that the server asks for a client certificate, and takes clients without one.
	AsksClient bool `json:"asks_client_certificate,omitempty"`

	source int // which of the sources conns come from
}

// Verdict says what becomes of one kind of session at one address.
type Verdict string

// The verdicts.
const (
	NotTried  Verdict = "not_tried"  // no handshake came to its end
	NotIssued Verdict = "not_issued" // the server gives no such session
	No        Verdict = "no"         // it gives them and accepted none
	Partly    Verdict = "partly"     // it accepted some
	Yes       Verdict = "yes"        // it accepted all
)

// Probe is what was seen of one kind of session at one address.
type Probe struct {
	Verdict Verdict `json:"verdict"`
	// Error says why no handshake came to its end; Refused, that the server does not speak the version.
	Error   string `json:"error,omitempty"`
	Refused bool   `json:"version_refused,omitempty"`
	// Failed counts conns that came to no end among others that did.
	Failed int `json:"failed,omitempty"`
	// Fresh counts full handshakes without an offer or with one that was refused; Issued those of them that gave a session.
	Fresh  int `json:"full_handshakes"`
	Issued int `json:"issued"`
	// Offered and Accepted count offers of the newest session.
	Offered  int `json:"offered"`
	Accepted int `json:"accepted"`
	// RenewedOffered and RenewedAccepted count those of them whose session a resumed conn gave, not a full handshake.
	RenewedOffered  int `json:"renewed_offered,omitempty"`
	RenewedAccepted int `json:"renewed_accepted,omitempty"`
	// RefusedAgainOffered and RefusedAgainAccepted count further offers of a session that was refused.
	RefusedAgainOffered  int `json:"refused_again_offered,omitempty"`
	RefusedAgainAccepted int `json:"refused_again_accepted,omitempty"`
	// AgainOffered and AgainAccepted count offers of one and the same session, which came with a refusal.
	AgainOffered  int `json:"again_offered"`
	AgainAccepted int `json:"again_accepted"`
	// SingleUse says that a ticket was accepted once and refused the second time.
	SingleUse bool `json:"single_use,omitempty"`

	// TicketBytes is the length of the longest ticket, PerHandshake how many a full handshake gives.
	TicketBytes  int `json:"ticket_bytes,omitempty"`
	PerHandshake int `json:"per_handshake,omitempty"`
	// Keys are the ticket keys seen, by the names that the tickets carry in clear.
	Keys []Key `json:"ticket_keys,omitempty"`
	// Kinds counts the servers that can be told apart: by the key of their tickets, by whether they give any, and whether those
	// hold the session. TakingTurns says that one came back behind another: a change of key does not look so.
	Kinds       int  `json:"told_apart,omitempty"`
	TakingTurns bool `json:"taking_turns,omitempty"`
	// WithoutTicket and EntryTickets count the full handshakes that gave no ticket where others did, and those whose tickets are
	// only names of entries in the server's memory.
	WithoutTicket int `json:"without_ticket,omitempty"`
	EntryTickets  int `json:"entry_tickets,omitempty"`
	// RefusedBySameKey and RefusedByOther count refusals by a server that gives tickets under the key of the one refused, and by
	// one that gives others or none.
	RefusedBySameKey int `json:"refused_by_same_key,omitempty"`
	RefusedByOther   int `json:"refused_by_other,omitempty"`
	// LifetimeSeconds is the server's hint, 0: none given.
	LifetimeSeconds int `json:"lifetime_seconds,omitempty"`
	// Stateful says that a TLS 1.3 ticket was only the name of an entry in the server's memory.
	Stateful bool `json:"stateful,omitempty"`
	// EarlyDataBytes is how much 0-RTT data the server takes.
	EarlyDataBytes uint32 `json:"early_data_bytes,omitempty"`
}

// Key is one ticket key.
type Key struct {
	// Name is the name in hex, 8 to 40 digits.
	Name string `json:"name"`
	// Tickets counts the different tickets under it.
	Tickets int `json:"tickets"`
}

// Across is what became of the sessions of one address at another.
type Across struct {
	From      string `json:"from"`
	To        string `json:"to"`
	SessionID Offers `json:"session_id"`
	Ticket    Offers `json:"ticket"`
	PSK       Offers `json:"psk"`
	// FromSource and ToSource are the addresses of this machine, where the session was carried from the one to the other.
	FromSource string `json:"from_source,omitempty"`
	ToSource   string `json:"to_source,omitempty"`
	// SharedKeys counts the ticket keys that both give tickets under.
	SharedKeys int `json:"shared_ticket_keys"`
	// SameKey says that tickets of both are under the same key.
	SameKey bool `json:"same_ticket_key"`
}

// Offers counts offers and what became of them.
type Offers struct {
	Offered  int `json:"offered"`
	Accepted int `json:"accepted"`
}

// lost reports whether not all were accepted.
func (o Offers) lost() bool { return o.Accepted < o.Offered }

// Finding is one thing that is worth a sentence.
type Finding struct {
	// Code names the kind of finding, for scripts.
	Code string `json:"code"`
	// Problem says that resumptions are lost by it; else it is only good to know.
	Problem bool `json:"problem"`
	// Addresses it is about.
	Addresses []string `json:"addresses"`
	// Text is the sentence.
	Text string `json:"text"`
	// Certainty says how sure a problem is, Evidence what it rests on, Settle what would settle it where it is not certain.
	Certainty Certainty `json:"certainty,omitempty"`
	Evidence  string    `json:"evidence,omitempty"`
	Settle    string    `json:"settle,omitempty"`
}

// Certainty says how sure a judgement is.
type Certainty string

// The certainties.
const (
	Certain Certainty = "certain" // nothing else looks so
	Likely  Certainty = "likely"  // something else would have to be chance
	Open    Certainty = "open"    // it may be otherwise
)

// Fix is one remedy: of those with the same goal any will do.
type Fix struct {
	// Goal is what it is for.
	Goal string `json:"goal"`
	// For names the software: homing, nginx, IIS, HAProxy, Apache.
	For string `json:"for"`
	// Text says what it does, Lines is what to write or to run.
	Text  string   `json:"text"`
	Lines []string `json:"lines"`
}

// kinds are the three kinds, in the order in which they are tried. TLS 1.3 comes last: what a balancer can learn from
// TLS 1.2 it may know by then.
func kinds() []tlscore.Kind {
	return []tlscore.Kind{tlscore.OfferID, tlscore.OfferTicket, tlscore.OfferPSK}
}

// probe returns the room for one kind.
func (a *Address) probe(k tlscore.Kind) *Probe { return ofKind(k, &a.SessionID, &a.Ticket, &a.PSK) }

func (a *Across) offers(k tlscore.Kind) *Offers { return ofKind(k, &a.SessionID, &a.Ticket, &a.PSK) }

func ofKind[T any](k tlscore.Kind, id, ticket, psk *T) *T {
	switch k {
	case tlscore.OfferID:
		return id
	case tlscore.OfferTicket:
		return ticket
	case tlscore.OfferPSK, tlscore.OfferNone:
	}
	return psk
}

// Nothing returns why nothing was seen at all, in one line; empty when something was.
func (r *Report) Nothing() string {
	var lines []string
	for i := range r.Addresses {
		a := &r.Addresses[i]
		if a.examined() {
			return ""
		}
		lines = append(lines, a.Addr+": "+a.Error)
	}
	return strings.Join(lines, "; ")
}

// examined reports whether anything was seen at the address.
func (a *Address) examined() bool { return a.Error == "" }

// verdict sums up what was counted.
func (p *Probe) verdict() Verdict {
	switch {
	case p.Fresh == 0:
		return NotTried
	case p.Offered == 0:
		return NotIssued
	case p.Accepted == 0:
		return No
	case p.Accepted < p.Offered:
		return Partly
	default:
		return Yes
	}
}

// lost reports whether offers were refused.
func (p *Probe) lost() bool { return p.Verdict == No || p.Verdict == Partly }

// is4 reports whether the address is one of IPv4.
func (a *Address) is4() bool {
	addr, err := netip.ParseAddrPort(a.Addr)
	return err == nil && addr.Addr().Unmap().Is4()
}

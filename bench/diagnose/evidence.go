package diagnose

import (
	"encoding/hex"
	"slices"

	"homing/bench/tlscore"
)

// answer is what one conn showed of the server that answered it.
type answer struct {
	offered []byte   // ticket, nil: none
	given   [][]byte // tickets
	resumed bool
	cut     bool // the server may have had more to give
}

// What stands for the name of a ticket key where there is none.
const (
	labelNone     = "none"     // a full handshake without a ticket
	labelEntry    = "entry"    // tickets that are only names of entries in the server's memory
	labelNameless = "nameless" // tickets that do not name their key
)

// labelOf returns what a ticket tells of its server: the name of its key, or what stands for it.
func labelOf(k tlscore.Kind, ticket []byte, size int) string {
	switch {
	case k == tlscore.OfferPSK && len(ticket) <= statefulBytes:
		return labelEntry
	case size == 0 || len(ticket) <= statefulBytes+size:
		return labelNameless
	}
	if name := hex.EncodeToString(ticket[:size]); name != noName {
		return name
	}
	return labelNameless
}

// label returns what an answer tells of its server, empty: nothing.
func (n *answer) label(k tlscore.Kind, size int) string {
	switch {
	case len(n.given) > 0:
		return labelOf(k, n.given[len(n.given)-1], size)
	case n.resumed || n.cut:
		return ""
	}
	return labelNone
}

// tellApart derives from the answers how many servers there are at least, and who refuses whose tickets. size is how long
// the names of keys are, 0: there are none.
func (p *Probe) tellApart(k tlscore.Kind, answers []answer, size int) {
	var tickets [][]byte
	var order []string
	for i := range answers {
		n := &answers[i]
		tickets = append(tickets, n.given...)
		label := n.label(k, size)
		if label == "" {
			continue
		}
		if !n.resumed && label == labelNone {
			p.WithoutTicket++
		}
		if !n.resumed && label == labelEntry {
			p.EntryTickets++
		}
		// A label that comes back behind another one: they take turns.
		if at := slices.Index(order, label); at >= 0 && at < len(order)-1 {
			p.TakingTurns = true
		}
		order = append(slices.DeleteFunc(order, func(l string) bool { return l == label }), label)
		if n.offered == nil || n.resumed {
			continue
		}
		switch from := labelOf(k, n.offered, size); {
		case from != label:
			p.RefusedByOther++
		case from != labelNameless && from != labelEntry:
			p.RefusedBySameKey++
		}
	}
	p.Kinds = len(order)
	if p.Issued == 0 {
		p.Kinds, p.WithoutTicket = min(p.Kinds, 1), 0
	}
	p.Stateful = p.EntryTickets > 0
	p.Keys = named(tickets, size, 1)
}

// mixed reports whether some servers give tickets that hold the session and others none.
func (p *Probe) mixed() bool {
	without := max(p.WithoutTicket, p.EntryTickets)
	return p.Kinds > 1 && p.TakingTurns && without > 0 && p.WithoutTicket+p.EntryTickets < p.Fresh
}

// loss says in which manner offers are refused.
type loss uint8

const (
	noLoss      loss = iota
	never            // nothing is ever accepted
	renewedLost      // what resumed conns gave is refused, what full handshakes gave is accepted
	changed          // one session is always refused, later ones never: something has changed meanwhile
	momentary        // what was refused is accepted later, and so is nearly all else
	spread           // each session is accepted at times: several servers, or processes of one
	unsure           // the counts tell not enough
)

// Bounds of what counts tell. Two servers in turn that refuse each other's sessions accept at most half of the offers that
// why makes: of 20, 17 or more once in 800 times. One server that refuses one offer in ten accepts 6 or fewer of 10 once in 80.
const (
	nearlyAll  = 0.85
	aboutHalf  = 0.6
	leastSeen  = 2 // offers of renewed sessions that make a rule
	alwaysSeen = 3 // offers that make an always or a never
	countsSeen = 5 // offers that make a share
)

func (p *Probe) loss() loss {
	if p.Accepted == p.Offered {
		return noLoss
	}
	again, refused := Offers{p.AgainOffered, p.AgainAccepted}, Offers{p.RefusedAgainOffered, p.RefusedAgainAccepted}
	full := Offers{p.Offered - p.RenewedOffered, p.Accepted - p.RenewedAccepted}
	always := again.Offered >= alwaysSeen && !again.lost()
	gone := refused.Offered >= alwaysSeen && refused.Accepted == 0
	offered := again.Offered + refused.Offered
	share := float64(again.Accepted+refused.Accepted) / float64(max(offered, 1))
	switch {
	case offered < countsSeen:
		return unsure
	case p.Accepted+again.Accepted+refused.Accepted == 0:
		return never
	case always && gone && p.RenewedOffered >= leastSeen && p.RenewedAccepted == 0 && !full.lost():
		return renewedLost
	case always && gone:
		return changed
	case share >= nearlyAll:
		return momentary
	case share <= aboutHalf:
		return spread
	}
	return unsure
}

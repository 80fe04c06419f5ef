package diagnose

import (
	"fmt"
	"slices"
)

// judgeAcross says what becomes of the sessions of one address at another, nil when all is well, or no worse than at home.
func judgeAcross(r *Report, x *Across) *Finding {
	from, to := r.address(x.From), r.address(x.To)
	var lost, stays []bool
	all := Offers{}
	for _, k := range kinds() {
		o := *x.offers(k)
		is := o.lost() && !from.probe(k).lost()
		lost, stays = append(lost, is), append(stays, is && !to.probe(k).lost())
		if is {
			all = Offers{all.Offered + o.Offered, all.Accepted + o.Accepted}
		}
	}
	id, tickets := lost[0], lost[1] || lost[2]
	if !id && !tickets {
		return nil
	}
	f := &Finding{Problem: true, Addresses: []string{x.From, x.To}}
	f.Evidence = fmt.Sprintf("of sessions of %s %d of %d were accepted at %s", x.From, all.Accepted, all.Offered, x.To)
	next := "A client whose next conn goes to the other address, as with a name that has both, starts anew."
	switch {
	case x.ToSource != "":
		f.Code, f.Addresses, f.Certainty = CodeBySource, []string{x.From}, Certain
		f.Text = "Sessions are accepted from the client address that they were given to, and refused from another: a balancer chooses the backend by the client's " +
			"address. Clients whose address changes start anew, and all behind one address meet one backend."
		f.Evidence = fmt.Sprintf("of sessions given to %s %d of %d were accepted from %s", x.FromSource, all.Accepted, all.Offered, x.ToSource)
	case slices.Contains(stays, true) && (x.SharedKeys > 1 || all.Accepted > 0):
		f.Code, f.Certainty, f.Settle = CodeBalancers, Likely, settleMore
		if x.SharedKeys > 1 {
			f.Certainty = Certain
		}
		f.Text = "The same backends stand behind both addresses" + also(x.SharedKeys > 1, fmt.Sprintf(" (%d ticket keys are in use at both)", x.SharedKeys)) +
			", and each address brings home the sessions that it gave, but not those of the other: " +
			"two balancers that do not tell each other what they know. " + next
	case tickets:
		f.Code, f.Certainty, f.Settle = CodeAcross, Likely, settleMore
		if !x.SameKey && len(from.keys()) > 0 && len(to.keys()) > 0 {
			f.Certainty = Certain
		}
		f.Text = fmt.Sprintf("Sessions of one address are refused at the other: the servers share neither %s. %s",
			also(id, "a session cache nor ")+"a ticket key", next)
		if !id {
			f.Text = "Tickets of one address are refused at the other: the servers do not share a ticket key. " + next
		}
		if x.SameKey {
			f.Text = "Tickets of one address are refused at the other, though servers at both give tickets under the same key. " + next
		}
	default:
		f.Code, f.Certainty, f.Settle = CodeAcrossCache, Likely, settleMore
		f.Text = "Session IDs of one address are refused at the other: the servers share no session cache" +
			also(x.SameKey, ", though they share a ticket key") + ". " + next
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

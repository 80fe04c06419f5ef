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
	apart := Likely // a key that both had would be chance
	if !x.SameKey && len(from.keys()) > 0 && len(to.keys()) > 0 {
		apart = Certain
	}
	same := Likely
	if x.SharedKeys > 1 {
		same = Certain
	}
	given := fmt.Sprintf("of sessions of %s %d of %d were accepted at %s", x.From, all.Accepted, all.Offered, x.To)
	kept := slices.Contains(stays, true) && (x.SharedKeys > 1 || all.Accepted > 0)
	f := finding([]reason{
		{
			x.ToSource != "", CodeBySource, Certain, "", "by source",
			fmt.Sprintf("of sessions given to %s %d of %d were accepted from %s", x.FromSource, all.Accepted, all.Offered, x.ToSource),
		},
		{kept, CodeBalancers, same, settleMore, "balancers", given},
		{tickets && x.SameKey, CodeAcross, Likely, settleMore, "same key across", given},
		{tickets && id, CodeAcross, apart, settleMore, "all across", given},
		{tickets, CodeAcross, apart, settleMore, "tickets across", given},
		{true, CodeAcrossCache, Likely, settleMore, "IDs across", given},
	}, x)
	f.Problem, f.Addresses = true, []string{x.From, x.To}
	if x.ToSource != "" {
		f.Addresses = []string{x.From}
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

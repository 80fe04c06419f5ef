package judge

import (
	"math"

	"homing/balancer/affinity"
)

// Prediction is how many offers would have been accepted with homing in the balancer's place.
type Prediction struct {
	Accepted float64 `json:"accepted"` // the best estimate
	// Low and High are what it lies between: where little was seen, or what was seen does not say, they are far apart.
	Low  float64 `json:"low"`
	High float64 `json:"high"`
}

func (p *Prediction) plus(o Prediction) {
	p.Accepted += o.Accepted
	p.Low += o.Low
	p.High += o.High
}

// ground is what an estimate of one kind of offers stands on.
type ground struct {
	hidden  bool // clients have the balancer's address: homing would know them apart, who looks on cannot
	servers int
}

// predict says what homing would have made of one kind of offers at servers that are seen one by one. Chance has sent some
// offers of each stratum where homing would have: their share that was accepted is that of the others, had they gone there
// too.
func (g ground) predict(t *Tally, kind affinity.OfferKind) (p Prediction) {
	var known Cell
	for _, by := range []Stratum{BySession, ByKey, ByHint, ByProbe} {
		known.plus(&t.By[by])
	}
	aged := &t.Aged
	rest := known
	rest.minus(&aged.Cell)
	young := shareOf(aged.YoungAccepted, aged.YoungRefused, 1)
	home := shareOf(rest.HomeAccepted, rest.HomeRefused, young.Accepted)
	stays := float64(rest.HomeAccepted + rest.AwayAccepted + aged.Stays)
	p.plus(Prediction{stays, stays, stays})
	p.plus(home.times(rest.AwayRefused))
	p.plus(young.times(aged.Good))
	perhaps := float64(aged.Perhaps)
	p.plus(Prediction{Accepted: perhaps * young.Accepted / 2, High: perhaps})

	// chance is how often an offer comes home today.
	chance := 1 / float64(max(g.servers, 1))
	if at := known.HomeAccepted + known.HomeRefused; at > 0 && known.all() >= fewOffers {
		chance = float64(at) / float64(known.all())
	}
	client, nothing := t.By[ByClient], t.By[ByNothing]
	if kind == affinity.OfferID { // those refused may be none
		nothing.AwayRefused = 0
	}
	// keep is the share of clients that keep their addresses, by which alone homing knows where to send a ticket of TLS 1.3
	// without a name. It is seen where the addresses are. Those of older versions it would have seen issued.
	keep := 1.0
	switch {
	case kind != affinity.OfferPSK:
	case g.hidden:
		keep = 0.5 // nobody knows
	default:
		keep = ratio(float64(client.all()), float64(client.all()+nothing.all()))
	}
	if g.hidden {
		nothing.plus(&Cell{AwayAccepted: client.HomeAccepted + client.AwayAccepted, AwayRefused: client.HomeRefused + client.AwayRefused})
	} else {
		sure := float64(client.HomeAccepted)
		p.plus(Prediction{sure, sure, sure})
		rate := shareOf(client.HomeAccepted, client.HomeRefused, home.Accepted)
		p.plus(rate.times(client.AwayAccepted + client.AwayRefused))
	}
	p.plus(byChance(nothing.AwayAccepted, nothing.AwayRefused, chance, keep))
	return p
}

// fewOffers is too few for a share.
const fewOffers = 20

// byChance is of offers whose home nobody knows: where a real one is accepted by chance only, those accepted say how many
// are real. Of these homing knows the home of a share. Today's balancer does as well as it does; better than all there is no
// doing.
func byChance(accepted, refused uint64, chance, share float64) Prediction {
	least, most := float64(accepted), float64(accepted+refused)
	good := min(most, least/chance)
	return Prediction{Accepted: least + share*(good-least), Low: least, High: most}
}

// shareOf is the share of successes, with the bounds that hold it in 95 of 100 cases (Wilson, 1927). Without a sample it
// is what is given, and may be anything.
func shareOf(yes, no uint64, given float64) Prediction {
	n := float64(yes + no)
	if n == 0 {
		return Prediction{Accepted: given, High: 1}
	}
	const z = 1.96
	share := float64(yes) / n
	middle := (share + z*z/(2*n)) / (1 + z*z/n)
	spread := z / (1 + z*z/n) * math.Sqrt(share*(1-share)/n+z*z/(4*n*n))
	return Prediction{Accepted: share, Low: max(middle-spread, 0), High: min(middle+spread, 1)}
}

func (p Prediction) times(n uint64) Prediction {
	f := float64(n)
	return Prediction{p.Accepted * f, p.Low * f, p.High * f}
}

// bound says what homing would make of the offers to one address behind which servers cannot be told apart: at least what
// was accepted, and what one server refused while another would have taken it; at most all. Where offers reach each server
// alike, as many are accepted as come home.
func bound(t *Tally, proven uint64, servers int) Prediction {
	least, lost := float64(t.Accepted), float64(t.Lost())
	sure, may := float64(t.Outlived), float64(t.MayOutlive) // clients that are not refused keep their sessions for longer
	p := Prediction{
		Low:  max(least+min(float64(proven), lost)-sure-may, 0),
		High: max(least+lost-sure, 0),
	}
	p.Accepted = min(max(least*float64(max(servers, 1))-sure-may/2, p.Low), p.High)
	return p
}

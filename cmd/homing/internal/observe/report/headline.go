package report

import (
	"fmt"

	"homing/cmd/homing/internal/observe/judge"
)

// leastTime is how long must have been observed to speak of an hour, in seconds.
const leastTime = 60

// wide is from how many points on bounds are told: closer ones are within what any two hours differ by.
const wide = 0.05

// unknown is from how many points on bounds say nothing.
const unknown = 0.9

// much is the share of conns that were not judged from which on it is part of the headline.
const much = 0.02

// Headline says in a sentence or two what is lost, and what homing would have made of it; and what cannot be said.
func Headline(f *judge.Findings) string {
	s := verdict(f)
	if u := &f.Unjudged; u.Bound > much {
		s += fmt.Sprintf(" %s of the conns could not be judged, and may have fared otherwise.", percent(u.Bound))
	}
	return s
}

func verdict(f *judge.Findings) string {
	o := &f.Total
	offers := o.Accepted + o.Lost
	switch {
	case f.View.Kind == judge.ViewNothing:
		return "No TLS handshake was seen: is this the port of the servers (--port), and are both directions in the capture?"
	case o.Handshakes == 0:
		return "No handshake was seen from its begin to the server's answer: nothing can be said."
	case offers == 0 && doubtful(f):
		return fmt.Sprintf("Whether resumptions are lost cannot be said: servers refused %s that nobody was seen to issue, and clients "+
			"invent such. They may be older than the capture: a longer one tells.", plural(o.DoubtfulIDs, "session ID", "session IDs"))
	case o.Lost == 0 && doubtful(f):
		return fmt.Sprintf("All of %s were accepted. But servers refused %s that nobody was seen to issue: clients invent such, or they "+
			"are older than the capture, and a longer one tells.", resumptions(f, offers), plural(o.DoubtfulIDs, "session ID", "session IDs"))
	case offers == 0:
		return fmt.Sprintf("No client offered a session that servers knew, in %s: there is nothing to lose.",
			plural(o.Handshakes, "handshake", "handshakes"))
	case o.Lost == 0:
		return fmt.Sprintf("No resumption is lost: all of %s were accepted.", resumptions(f, offers))
	}
	lose := fmt.Sprintf("You lose %s of %s", percent(o.LostShare), resumptions(f, offers))
	if o.Seen && o.Saved.High-o.Saved.Low > unknown {
		return lose + ". How much of it homing would have brought home cannot be said: a capture of all servers, or a longer one, tells."
	}
	if unseen := o.Why[judge.WhyUnknown.String()]; o.Seen && unseen > o.DoubtfulIDs+o.Lost/2 && o.Saved.High-o.Saved.Low > wide {
		return lose + fmt.Sprintf(". Most of them are older than the capture, or name no issuer: homing would have brought %s to %s of "+
			"these home, and a longer capture tells more.", percent(clamp(o.Saved.Low)), percent(clamp(o.Saved.High)))
	}
	if o.Seen {
		return lose + "; homing would have brought " + share(o.Saved) + " of these home."
	}
	if f.View.Kind == judge.ViewApart && !several(f) {
		return lose + ". The addresses seen here have shown nothing in common: if they are servers of one balancer, name them " +
			"(--backend), and what homing would have brought home can be told."
	}
	if !several(f) {
		return lose + ". Nothing shows that more than one server is behind what was seen: whether homing would have brought " +
			"these home, a capture between balancer and servers tells."
	}
	if o.Saved.High-o.Saved.Low > unknown {
		return lose + ". Several servers are behind what was seen, and how much of it homing would have brought home cannot be said " +
			"from here: a capture between balancer and servers tells."
	}
	return lose + fmt.Sprintf("; homing would have brought home at least %s of these, and %s as far as can be told from here.",
		percent(o.Saved.Low), about(o.Saved))
}

// doubtful reports whether session IDs that may be none or older than the capture are too many to pass over in silence.
func doubtful(f *judge.Findings) bool {
	o := &f.Total
	return float64(o.DoubtfulIDs) > much*float64(o.Offers)
}

// several reports whether there are signs that an address stands for several servers.
func several(f *judge.Findings) bool {
	for i := range f.Servers {
		if s := &f.Servers[i]; s.AtLeast > 1 || s.Proven > 0 {
			return true
		}
	}
	return false
}

// resumptions writes how many there were, an hour where enough was seen for that.
func resumptions(f *judge.Findings, offers uint64) string {
	if f.Observed < leastTime {
		return plural(offers, "resumption", "resumptions") + " in " + seconds(f.Observed)
	}
	perHour := float64(offers) / f.Observed * 3600
	if perHour >= 10000 {
		perHour = float64(int(perHour/100+0.5)) * 100
	}
	return round(perHour) + " resumptions an hour"
}

// share writes a predicted share, with its bounds where they are far apart.
func share(p judge.Prediction) string {
	if p.High-p.Low <= wide {
		return percent(clamp(p.Accepted))
	}
	return about(p)
}

func about(p judge.Prediction) string {
	return fmt.Sprintf("about %s (%s to %s)", percent(clamp(p.Accepted)), percent(clamp(p.Low)), percent(clamp(p.High)))
}

func clamp(v float64) float64 { return min(max(v, 0), 1) }

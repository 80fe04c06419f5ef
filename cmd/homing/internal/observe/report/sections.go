package report

import (
	"fmt"
	"slices"
	"strings"

	"homing/cmd/homing/internal/observe/judge"
)

// section is a part of the report: sentences, and a table or none.
type section struct {
	ID, Title string
	Lead      []string
	Head      []string
	Rows      []tableRow
	Rest      string // what was left out
}

// tableRow is one row: the first cell names it.
type tableRow struct {
	Cells []string
	Bar   *bar // for pages: what became of its offers
}

// bar is shares in percent, from the left.
type bar struct{ Resumed, Saved, Lost float64 }

// Limits of what is listed, for people: JSON has all.
const (
	maxRows = 20
	maxKeys = 20
)

// sections are all parts of the report.
func sections(f *judge.Findings) []section {
	all := []section{seen(f)}
	if f.Total.Handshakes+f.Total.Undecided == 0 {
		all = append(all, hellos(f))
	} else {
		all = append(all, kinds(f), whys(f), servers(f), names(f), costs(f), keys(f), clients(f), hellos(f))
	}
	return slices.DeleteFunc(all, func(s section) bool { return len(s.Lead) == 0 && len(s.Rows) == 0 })
}

// seen says what the report stands on, and what bounds it.
func seen(f *judge.Findings) section {
	s := section{ID: "seen", Title: "What was seen"}
	say := func(format string, args ...any) { s.Lead = append(s.Lead, fmt.Sprintf(format, args...)) }
	if !f.Begun.IsZero() {
		say("%s to %s UTC, %s observed, from %s.", when(f.Begun), when(f.Ended), seconds(f.Observed), orElse(f.Capture.Source, "a capture"))
	}
	switch f.View.Kind {
	case judge.ViewBetween:
		say("Seen from between balancer and servers (%s): issuers are known, so losses are counted.", f.View.Why)
	case judge.ViewBoth:
		say("Seen from the balancer itself (%s): only its servers' side is counted.", f.View.Why)
	case judge.ViewBefore:
		say("Seen from before the balancer, or a single server (%s): servers behind it cannot be told apart, so there are "+
			"bounds. If it is one of several servers, name them: --backend.", f.View.Why)
	case judge.ViewApart:
		say("%s: each is judged for itself. If they are servers of one balancer, name them: --backend.", capital(f.View.Why))
	}
	u := &f.Unjudged
	if u.Missing > 0 {
		say("Not judged: %s whose packets are not all there (%s), with %s; of those with a handshake it is %s, which bounds "+
			"every share here.", plural(u.Missing, "conn", "conns"), reasons(u.Why), plural(u.Offers, "offer", "offers"), percent(u.Bound))
	}
	if f.Capture.Dropped > 0 {
		say("The kernel dropped %s: conns that lost one are among those not judged, and some were not seen at all.",
			plural(f.Capture.Dropped, "packet", "packets"))
	}
	if f.Capture.Cut > 0 {
		say("Cut by the snap length: %s. Capture whole ones (tcpdump -s 0).", plural(f.Capture.Cut, "packet", "packets"))
	}
	if f.Capture.Link > 0 {
		say("Of a link type that is not read: %s.", plural(f.Capture.Link, "packet", "packets"))
	}
	if f.SetBack > 0 {
		say("The clock of the capture was set back %s: merge the files by time (mergecap of Wireshark).", plural(f.SetBack, "time", "times"))
	}
	if f.Capture.Ended != "" {
		say("It ended before its end: %s", f.Capture.Ended)
	}
	other := []string{}
	for _, o := range []struct {
		n    uint64
		what string
	}{{u.Opaque, "not TLS"}, {u.Invalid, "broken TLS"}, {u.Silent, "without a hello"}, {u.Unanswered, "without an answer"}} {
		if o.n > 0 {
			other = append(other, count(o.n)+" "+o.what)
		}
	}
	if len(other) > 0 {
		say("Other conns: %s.", strings.Join(other, ", "))
	}
	return s
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// reasons writes counts by word, the greatest first.
func reasons(why map[string]uint64) string {
	words := make([]string, 0, len(why))
	for w := range why {
		words = append(words, w)
	}
	slices.SortFunc(words, func(a, b string) int {
		if why[a] != why[b] {
			return int(int64(why[b]) - int64(why[a]))
		}
		return strings.Compare(a, b)
	})
	for i, w := range words {
		words[i] = count(why[w]) + " " + strings.ReplaceAll(w, "_", " ")
	}
	return strings.Join(words, ", ")
}

// outcomeHead is the columns of an outcome.
func outcomeHead(first ...string) []string {
	return append(first, "handshakes", "fresh", "offers", "resumed", "lost", "with homing")
}

func outcomeCells(o *judge.Outcome, first ...string) tableRow {
	offers := o.Accepted + o.Lost
	r := tableRow{Cells: append(first, count(o.Handshakes), count(o.Fresh), count(offers), "-", "-", "-")}
	if offers > 0 {
		n := len(r.Cells)
		r.Cells[n-3] = percent(float64(o.Accepted) / float64(offers))
		r.Cells[n-2] = percent(o.LostShare)
		r.Cells[n-1] = predicted(o)
		best := clamp(o.Homing.Accepted / float64(offers))
		now := float64(o.Accepted) / float64(offers)
		r.Bar = &bar{Resumed: 100 * now, Saved: 100 * max(best-now, 0)}
		r.Bar.Lost = 100 - r.Bar.Resumed - r.Bar.Saved
	}
	return r
}

// predicted writes the share of offers that homing would have resumed.
func predicted(o *judge.Outcome) string {
	n := float64(o.Accepted + o.Lost)
	p := judge.Prediction{Accepted: o.Homing.Accepted / n, Low: o.Homing.Low / n, High: o.Homing.High / n}
	if low, high := percent(clamp(p.Low)), percent(clamp(p.High)); !o.Seen && low != high {
		return low + " to " + high
	}
	if p.High-p.Low > wide {
		return fmt.Sprintf("%s (%s to %s)", percent(clamp(p.Accepted)), percent(clamp(p.Low)), percent(clamp(p.High)))
	}
	return percent(clamp(p.Accepted))
}

// offerWord is a kind of offer for people.
func offerWord(kind string) string {
	return map[string]string{"none": "nothing", "id": "session ID", "ticket": "ticket", "psk": "PSK"}[kind]
}

func kinds(f *judge.Findings) section {
	s := section{ID: "kinds", Title: "By kind of offer", Head: outcomeHead("offer")}
	for i := range f.Kinds {
		k := &f.Kinds[i]
		s.Rows = append(s.Rows, outcomeCells(&k.Outcome, k.Version+", "+offerWord(k.Kind)))
	}
	all := outcomeCells(&f.Total, "all")
	s.Rows = append(s.Rows, all)
	if n := f.Total.DoubtfulIDs; n > 0 {
		s.Lead = append(s.Lead, fmt.Sprintf("%s were refused that nobody is known to have issued. Many clients invent one for "+
			"a fresh handshake: they are not counted as offers here.", plural(n, "session ID", "session IDs")))
	}
	if sure, may := f.Total.Outlived, f.Total.MayOutlive; sure+may > 0 {
		s.Lead = append(s.Lead, fmt.Sprintf("With homing clients keep a session until it is too old: %s would be so, and %s may be. "+
			"The prediction reckons with that.", plural(sure, "offer", "offers"), count(may)))
	}
	if n := f.Total.Undecided; n > 0 {
		s.Lead = append(s.Lead, fmt.Sprintf("Of %s the answer does not say: an alert, or the end of the conn.", plural(n, "offer", "offers")))
	}
	return s
}

// whyText is what the reasons mean.
func whyText(w judge.Why) (text, homing string) {
	switch w {
	case judge.WhyElsewhere:
		return "another server issued it, or has its key", "brings it home"
	case judge.WhyLikelyElsewhere:
		return "the client was at another server last; the ticket names no key", "brings most home"
	case judge.WhyExpired:
		return "refused by who issued it: too old, used up, or its own policy", "no help"
	case judge.WhyRotated:
		return "refused by who issued it: it has a newer key", "no help"
	case judge.WhyMoved:
		return "refused by who held its key, and others hold it now", "goes to them"
	case judge.WhyNotKept:
		return "refused by who issued it: it keeps no session IDs", "no help"
	case judge.WhyUnknown:
	}
	return "nobody is known to have issued it", "cannot be said"
}

func whys(f *judge.Findings) section {
	s := section{ID: "why", Title: "Why offers were refused", Head: []string{"why", "offers", "share", "homing"}}
	if !f.Total.Seen {
		if f.Total.Refused > 0 {
			s.Lead = []string{"Which server refused cannot be seen from before the balancer."}
		}
		return section{ID: s.ID, Title: s.Title, Lead: s.Lead}
	}
	for w := range judge.NumWhys {
		if n := f.Total.Why[w.String()]; n > 0 {
			text, homing := whyText(w)
			s.Rows = append(s.Rows, tableRow{Cells: []string{text, count(n), percent(float64(n) / float64(f.Total.Refused)), homing}})
		}
	}
	return s
}

func servers(f *judge.Findings) section {
	s := section{ID: "servers", Title: "By address", Head: append(outcomeHead("address"), "servers", "keys")}
	for i := range f.Servers[:min(len(f.Servers), maxRows)] {
		v := &f.Servers[i]
		if v.Handshakes+v.Undecided == 0 {
			continue
		}
		name := v.Address
		switch {
		case v.Role == "front":
			name += " (balancer)"
		case !v.Counted:
			name += " (not counted)"
		}
		r := outcomeCells(&v.Outcome, name)
		if v.Seen {
			r.Cells = append(r.Cells, "1", "-")
		} else {
			r.Cells = append(r.Cells, fmt.Sprintf("%d or more", v.AtLeast), fmt.Sprint(v.KeysAtOnce))
		}
		s.Rows = append(s.Rows, r)
	}
	s.Rest = rest(len(f.Servers), "addresses")
	return s
}

func names(f *judge.Findings) section {
	s := section{ID: "names", Title: "By server name", Head: outcomeHead("name")}
	if len(f.ByName) < 2 {
		return section{}
	}
	for i := range f.ByName[:min(len(f.ByName), maxRows)] {
		r := &f.ByName[i]
		s.Rows = append(s.Rows, outcomeCells(&r.Outcome, orElse(shortened(r.Name), "(none)")))
	}
	s.Rest = rest(len(f.ByName), "names")
	return s
}

// maxName is the longest name that is told to people, in bytes: clients choose them, and may fill the screen.
const maxName = 80

// shortened is the begin of a name that is too long. Names are of ASCII: see judge.
func shortened(name string) string {
	if len(name) <= maxName {
		return name
	}
	return name[:maxName-3] + "..."
}

func rest(n int, what string) string {
	if n <= maxRows {
		return ""
	}
	return fmt.Sprintf("%d further %s: --json has them all.", n-maxRows, what)
}

func costs(f *judge.Findings) section {
	s := section{ID: "costs", Title: "What the lost resumptions cost", Head: []string{"what", "in all", "an hour"}}
	c := &f.Costs
	if c.Handshakes == 0 {
		return section{}
	}
	add := func(what string, n float64, format func(float64) string) {
		hour := "-"
		if f.Observed >= leastTime {
			hour = format(n / f.Observed * 3600)
		}
		s.Rows = append(s.Rows, tableRow{Cells: []string{what, format(n), hour}})
	}
	add("full handshakes", float64(c.Handshakes), round)
	for _, cpu := range c.CPU {
		of, condition := "", ""
		if cpu.Handshakes != c.Handshakes {
			of = " of " + count(cpu.Handshakes)
		}
		if cpu.How != judge.CertificateRead {
			condition = "if "
		}
		add(fmt.Sprintf("server CPU%s, %s%s (%s each)", of, condition, cpu.Certificate, seconds(cpu.Each)), cpu.All, seconds)
	}
	s.Lead = certificates(c)
	add("certificates on the wire", c.Bytes, byteCount)
	trips := "round trips more"
	if c.RoundTripTime > 0 {
		trips += fmt.Sprintf(" (%s each as seen here)", seconds(c.RoundTripTime))
	}
	add(trips, c.RoundTrips, round)
	return s
}

// certificates says what the kinds of certificates stand on, where they were not read.
func certificates(c *judge.Costs) (lead []string) {
	if len(c.CPU) == 0 || c.CPU[0].How == judge.CertificateGiven {
		return nil
	}
	var near, assumed uint64
	for _, k := range c.Certificates {
		switch k.How {
		case judge.CertificateNear:
			near += k.Handshakes
		case judge.CertificateAssumed:
			assumed += k.Handshakes
		}
	}
	if near > 0 {
		lead = append(lead, fmt.Sprintf("TLS 1.3 hides certificates: %s reckoned with the kind that the same service shows in TLS 1.2 "+
			"or older.", plural(near, "handshake is", "handshakes are")))
	}
	if assumed > 0 {
		lead = append(lead, fmt.Sprintf("The certificate of %s could not be read, nor another of the service (TLS 1.3 hides it): its "+
			"kind is assumed. Give it: --certificate.", plural(assumed, "handshake", "handshakes")))
	}
	return lead
}

func keys(f *judge.Findings) section {
	s := section{ID: "keys", Title: "Ticket keys", Head: []string{"key", "name", "since", "last used", "uses", "held by"}}
	old, shared := 0, 0
	for i := range f.Keys {
		k := &f.Keys[i]
		if k.Old {
			old++
		}
		if len(k.Holders) > 1 {
			shared++
		}
		if i < maxKeys {
			holders := k.Holders
			if len(holders) > 3 {
				holders = append(slices.Clone(holders[:3]), fmt.Sprintf("%d more", len(k.Holders)-3))
			}
			s.Rows = append(s.Rows, tableRow{Cells: []string{
				k.ID, fmt.Sprintf("%d bytes", k.Length), when(k.Since), when(k.Last), count(k.Uses), strings.Join(holders, ", "),
			}})
		}
	}
	if old > 0 {
		s.Lead = append(s.Lead, fmt.Sprintf("%s in use for longer than a day: who takes such a key reads all that was said "+
			"under it. Rotate it.", plural(uint64(old), "key is", "keys are")))
	}
	if shared > 0 {
		of := "servers"
		if !f.Total.Seen {
			of = "addresses"
		}
		s.Lead = append(s.Lead, fmt.Sprintf("%s shared by several %s.", plural(uint64(shared), "key is", "keys are"), of))
	}
	if f.Keyless > 0 {
		s.Lead = append(s.Lead, fmt.Sprintf("%s came with a ticket that names no known key (Go, Schannel's TLS 1.3, sessions in "+
			"memory): homing sends them where the client was last.", plural(f.Keyless, "offer", "offers")))
	}
	if n := len(f.Keys); n > maxKeys {
		s.Rest = fmt.Sprintf("%d further keys: --json has them all.", n-maxKeys)
	}
	return s
}

func clients(f *judge.Findings) section {
	c := &f.Clients
	if c.Returned == 0 {
		return section{}
	}
	s := section{ID: "clients", Title: "Clients"}
	s.Lead = append(s.Lead, fmt.Sprintf("%s by address, name and shape of hello; %s came back, and %s of these never offered a "+
		"session, in %s.", plural(c.Seen, "client", "clients"), count(c.Returned), count(c.Never), plural(c.Without, "handshake", "handshakes")))
	if c.Hidden {
		s.Lead = append(s.Lead, fmt.Sprintf("They come from %s, the balancer's: for offers without a key name homing would know "+
			"them apart, and this report does not.", plural(uint64(c.Addresses), "address", "addresses")))
	}
	return s
}

func hellos(f *judge.Findings) section {
	h := &f.Hellos
	if h.Count == 0 {
		return section{}
	}
	s := section{ID: "hellos", Title: "Hellos", Head: []string{"size", "hellos", "share"}}
	s.Lead = []string{fmt.Sprintf("%s of %s on average, %s at most. TLS 1.3 %s, post-quantum key share %s, encrypted_client_hello "+
		"(real or GREASE) %s, early data %s, no server name %s, HelloRetryRequest %s.",
		plural(h.Count, "hello", "hellos"), byteCount(h.MeanBytes), byteCount(float64(h.Longest)), percent(h.TLS13),
		percent(h.PostQuantum), percent(h.ECH), percent(h.EarlyData), percent(h.NoName), percent(h.Retries))}
	for _, k := range h.Sizes {
		if k.Count == 0 {
			continue
		}
		size := "longer"
		if k.UpTo > 0 {
			size = "up to " + count(uint64(k.UpTo)) + " bytes"
		}
		s.Rows = append(s.Rows, tableRow{Cells: []string{size, count(k.Count), percent(float64(k.Count) / float64(h.Count))}})
	}
	return s
}

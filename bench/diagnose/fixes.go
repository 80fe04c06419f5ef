package diagnose

import (
	_ "embed" // the remedies
	"encoding/json"
	"slices"
)

// fixesJSON has the remedies, by goal.
//
//go:embed fixes.json
var fixesJSON []byte

// Goals of remedies.
const (
	goalHome    = "Bring each session to the backend that gave it"
	goalKey     = "Give all servers one ticket key (that does not help clients without tickets)"
	goalAllKey  = "Turn tickets on at every server, and give all of them one ticket key (that does not help clients without tickets)"
	goalTickets = "Turn tickets on"
	goalContext = "Let servers that share a ticket key take each other's tickets"
	goalShare   = "Let the balancers tell each other what they know"
	goalMore    = "Find out more before anything is changed"
	goalCache   = "Give each server a session cache that all its processes share"
)

// fixes returns the remedies for the problems of a report. Of those with the same goal one will do.
func fixes(r *Report) []Fix {
	var remedies map[string][]Fix
	if err := json.Unmarshal(fixesJSON, &remedies); err != nil {
		panic(err) // a mistake in this package
	}
	remedies[goalAllKey] = withTickets(remedies[goalKey], remedies[goalTickets])
	found := func(codes ...string) bool {
		return slices.ContainsFunc(r.Findings, func(f Finding) bool { return slices.Contains(codes, f.Code) })
	}
	mixed := found(CodeMixed)
	list := []Fix{}
	for _, g := range []struct {
		wanted bool
		goal   string
	}{
		{
			mixed || found(CodeApart, CodeAcross, CodeNoneAccepted, CodeTicketsUnnamed, CodeBySource, CodeBound, CodeCacheApart,
				CodeNoCacheAtAll, CodeAcrossCache), goalHome,
		},
		{found(CodeBalancers), goalShare},
		{found(CodeBound), goalContext},
		{mixed, goalAllKey},
		{!mixed && found(CodeApart, CodeAcross, CodeNoneAccepted, CodeTicketsUnnamed, CodeTicketRefused), goalKey},
		{!mixed && found(CodeRenewed, CodeNothingIssued, CodeNoTickets13), goalTickets},
		{found(CodeCacheApart, CodeNoCacheAtAll, CodeNoCache), goalCache},
		{found(CodeChanged, CodeMomentary, CodeUnsure), goalMore},
	} {
		if !g.wanted {
			continue
		}
		for _, f := range remedies[g.goal] {
			f.Goal = g.goal
			list = append(list, f)
		}
	}
	if slices.ContainsFunc(r.Addresses, func(a Address) bool { return a.Schannel }) {
		// The session IDs tell what the server is: the others are of no use there.
		list = slices.DeleteFunc(list, func(f Fix) bool { return f.For != "homing" && f.For != "homing-bench" && f.For != "IIS" })
	}
	return list
}

// withTickets is ways to give servers one key that turn tickets on too.
func withTickets(keys, tickets []Fix) []Fix {
	list := slices.Clone(keys)
	for i := range list {
		for _, on := range tickets {
			if on.For == list[i].For && !slices.Contains(list[i].Lines, on.Lines[0]) {
				list[i].Lines = slices.Concat(on.Lines, list[i].Lines)
			}
		}
	}
	return list
}

package diagnose

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files; read the diff")

// golden compares with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// probeOf makes a probe of a verdict; again says that one session was accepted now and then.
func probeOf(v Verdict, again bool, keys int) Probe {
	p := Probe{Verdict: v}
	switch v {
	case NotTried:
		p.Error, p.Refused = "the server does not speak it", true
		return p
	case NotIssued:
		p.Fresh = 7
		return p
	case No:
		p.Fresh, p.Issued, p.Offered, p.AgainOffered = 11, 11, 5, 5
		if again {
			p.AgainAccepted = 2
		}
	case Partly:
		p.Fresh, p.Issued, p.Offered, p.Accepted, p.AgainOffered, p.AgainAccepted = 8, 8, 5, 2, 5, 2
	case Yes:
		p.Fresh, p.Issued, p.Offered, p.Accepted = 2, 2, 5, 5
	}
	for i := range keys {
		p.Kinds, p.TakingTurns = i+1, i > 0
		p.Keys = append(p.Keys, Key{Name: strings.Repeat(fmt.Sprintf("%02x", 0xa0+i), 16), Tickets: 3})
	}
	return p
}

// Whatever is seen at an address, there is a sentence for it, and a remedy for each problem; what is well gets none.
func TestEveryCombinationHasASentence(t *testing.T) {
	verdicts := []Verdict{NotTried, NotIssued, No, Partly, Yes}
	type sentence struct{ code, text string }
	seen, order := map[sentence]int{}, []sentence{}
	first := map[sentence]string{}
	for _, id := range verdicts {
		for _, ticket := range verdicts {
			for _, psk := range verdicts {
				for again := range 8 {
					for keys := range 3 {
						a := Address{Addr: "192.0.2.10:443", Name: "www.example.org"}
						a.SessionID = probeOf(id, again&1 != 0, 0)
						a.Ticket = probeOf(ticket, again&2 != 0, keys)
						a.PSK = probeOf(psk, again&4 != 0, keys)
						if id == NotTried && ticket == NotTried && psk == NotTried {
							continue // then nothing was seen at all
						}
						what := fmt.Sprintf("IDs %s, tickets %s, PSK %s, again %03b, %d keys", id, ticket, psk, again, keys)
						lost := slices.ContainsFunc([]Verdict{id, ticket, psk}, func(v Verdict) bool { return v == No || v == Partly })
						f := cause(&a)
						if lost != (f != nil) || lost && (f.Code == "" || f.Text == "" || f.Evidence == "" || f.Certainty == "" || (f.Certainty != Certain) != (f.Settle != "")) {
							t.Errorf("%s: %+v", what, f)
						}
						if lost {
							s := sentence{f.Code, f.Text}
							if seen[s]++; seen[s] == 1 {
								order, first[s] = append(order, s), what
							}
						}
						checkReport(t, what, &a)
					}
				}
			}
		}
	}
	var b strings.Builder
	for _, s := range order {
		fmt.Fprintf(&b, "%s (%d combinations, first: %s)\n", s.code, seen[s], first[s])
		wrap(&b, "  ", "  ", s.text)
	}
	golden(t, "causes.txt", b.String())
}

// checkReport checks what must hold of every report of one address.
func checkReport(t *testing.T, what string, a *Address) {
	t.Helper()
	r := &Report{Addresses: []Address{*a}}
	Judge(r)
	if r.Lost != (len(r.Fixes) > 0) {
		t.Errorf("%s: lost %v, %d remedies", what, r.Lost, len(r.Fixes))
	}
	for _, f := range r.Findings {
		if !strings.HasSuffix(f.Text, ".") || strings.Contains(f.Text, "%!") || strings.Contains(f.Text, "  ") || len(f.Addresses) != 1 {
			t.Errorf("%s: %+v", what, f)
		}
	}
	for _, s := range []string{r.Caching, r.Tickets, r.TLS13} {
		if _, said, ok := strings.Cut(s, "): "); !ok || said == "" {
			t.Errorf("%s: %q", what, s)
		}
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil || strings.Contains(b.String(), "%!") || strings.Contains(b.String(), "\nNo resumption is lost") == r.Lost {
		t.Errorf("%s: error %v:\n%s", what, err, b.String())
	}
}

// fixed are reports of what was seen once, for the golden files.
func fixed() map[string][]Address {
	key := func(n int) []Key {
		return []Key{{Name: strings.Repeat(fmt.Sprintf("%02x", 0xa0+n), 16), Tickets: 6}}
	}
	base := func(addr string, id, ticket, psk Probe) Address {
		for _, p := range []*Probe{&ticket, &psk} {
			if p.Issued > 0 {
				p.TicketBytes, p.LifetimeSeconds, p.PerHandshake = 192, 300, 1
			}
		}
		psk.PerHandshake *= 2
		return Address{Target: "www.example.org:443", Addr: addr, Name: "www.example.org", SessionID: id, Ticket: ticket, PSK: psk}
	}
	well := base("192.0.2.10:443", probeOf(Yes, false, 0), probeOf(Yes, false, 1), probeOf(Yes, false, 1))
	other := base("192.0.2.11:443", probeOf(Yes, false, 0), probeOf(Yes, false, 0), probeOf(Yes, false, 0))
	other.Ticket.Keys, other.PSK.Keys = key(1), key(1)
	iis := base("192.0.2.10:443", probeOf(No, true, 0), probeOf(NotIssued, false, 0), probeOf(NotTried, false, 0))
	iis.Schannel = true
	stateful := base("192.0.2.10:443", probeOf(Yes, false, 0), probeOf(NotIssued, false, 0), probeOf(Yes, false, 0))
	stateful.PSK.EntryTickets, stateful.PSK.Stateful, stateful.PSK.TicketBytes, stateful.PSK.SingleUse, stateful.PSK.LifetimeSeconds = stateful.PSK.Issued, true, 32, true, 60
	return map[string][]Address{
		"well":     {well},
		"apart":    {base("192.0.2.10:443", probeOf(No, true, 0), probeOf(No, true, 2), probeOf(No, true, 2))},
		"no-cache": {base("192.0.2.10:443", probeOf(No, false, 0), probeOf(Yes, false, 1), probeOf(Yes, false, 1))},
		"nothing":  {base("192.0.2.10:443", probeOf(NotIssued, false, 0), probeOf(NotIssued, false, 0), probeOf(NotIssued, false, 0))},
		"iis":      {iis},
		"stateful": {stateful},
		"across":   {well, other},
		"incomplete": {
			well,
			{Target: "www.example.org:443", Addr: "192.0.2.12:443", Name: "www.example.org", Error: "cannot connect: connection refused"},
			{Addr: "[2001:db8::1]:443", Name: "www.example.org", Error: "cannot connect: network is unreachable", Skipped: true},
		},
	}
}

func TestText(t *testing.T) {
	for name, list := range fixed() {
		r := &Report{Format: FormatVersion, Tries: 5, Addresses: list}
		if name == "across" {
			refused := Offers{Offered: 5}
			r.Across = []Across{
				{From: list[0].Addr, To: list[1].Addr, SessionID: refused, Ticket: refused, PSK: refused},
				{From: list[1].Addr, To: list[0].Addr, SessionID: refused, Ticket: refused, PSK: refused},
			}
		}
		Judge(r)
		var b strings.Builder
		if err := r.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, name+".txt", b.String())
		if name == "incomplete" && (r.Lost || !r.Incomplete) || name == "across" && !r.Lost {
			t.Errorf("%s: lost %v, incomplete %v", name, r.Lost, r.Incomplete)
		}
	}
}

// Scripts read the JSON: what is there stays.
func TestJSON(t *testing.T) {
	list := fixed()["across"]
	list[0].PSK.EarlyDataBytes, list[0].SessionID.Failed = 16384, 1
	r := &Report{Format: FormatVersion, Tries: 5, Addresses: list}
	r.Across = []Across{{From: list[0].Addr, To: list[1].Addr, SessionID: Offers{Offered: 5}, Ticket: Offers{5, 5}, PSK: Offers{5, 5}, SameKey: true}}
	Judge(r)
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", string(b)+"\n")
}

func TestNothingSeen(t *testing.T) {
	r := &Report{Addresses: []Address{
		{Addr: "192.0.2.1:443", Error: "cannot connect: connection refused"},
		{Addr: "[2001:db8::1]:443", Error: "cannot connect: network is unreachable", Skipped: true},
	}}
	Judge(r)
	want := "192.0.2.1:443: cannot connect: connection refused; [2001:db8::1]:443: cannot connect: network is unreachable"
	if got := r.Nothing(); got != want || !r.Incomplete || r.Lost {
		t.Errorf("%q, %+v", got, r)
	}
	// A machine without IPv6 is no fault of the site, but only IPv6 addresses leave nothing seen.
	r.Addresses = r.Addresses[1:]
	if Judge(r); !r.Incomplete {
		t.Error("a report of nothing is taken for a whole one")
	}
}

// What a report may want has remedies, each with something to write or to run.
func TestFixesOfEveryGoal(t *testing.T) {
	r := &Report{Findings: []Finding{
		{Code: CodeApart}, {Code: CodeBalancers}, {Code: CodeBound}, {Code: CodeRenewed}, {Code: CodeNoCache}, {Code: CodeUnsure},
	}}
	list := fixes(r)
	r.Findings = append(r.Findings, Finding{Code: CodeMixed})
	list = append(list, fixes(r)...)
	for _, f := range list {
		if f.For == "" || f.Text == "" || len(f.Lines) == 0 {
			t.Errorf("%+v", f)
		}
	}
	for _, goal := range []string{goalHome, goalShare, goalContext, goalKey, goalAllKey, goalTickets, goalCache, goalMore} {
		if !slices.ContainsFunc(list, func(f Fix) bool { return f.Goal == goal }) {
			t.Errorf("nothing is known that would %s", goal)
		}
	}
}

// Each sentence is named by something that says it: a name that is written wrongly leaves one unsaid.
func TestEverySentenceIsSaid(t *testing.T) {
	source := strings.ReplaceAll(findingTexts, "{{define \"", "")
	for _, name := range []string{"cause.go", "across.go", "judge.go", "text.go"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		source += string(b)
	}
	for _, s := range texts.Templates() {
		if s.Name() != texts.Name() && !strings.Contains(source, `"`+s.Name()+`"`) {
			t.Errorf("nothing says %q", s.Name())
		}
	}
}

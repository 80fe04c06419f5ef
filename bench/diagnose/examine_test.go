package diagnose

import (
	"crypto/tls"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const (
	addrA = "192.0.2.10:443"
	addrB = "192.0.2.11:443"
)

const sharedKey = "the key of all  "

// What is found of sites whose make is known.
func TestExamineFinds(t *testing.T) {
	shared := func(b *fakeBackend) { b.key = sharedKey }
	nameless := func(b *fakeBackend) { b.key, b.secret = "", string(random(8)) }
	const (
		yes      = "Yes"
		idsNo    = "No (IDs assigned but not accepted)"
		ticketNo = "No (tickets issued but not accepted)"
		none     = "No (no tickets issued)"
		next     = "Yes at the same address, not at the next"
	)
	for _, tt := range []struct {
		what                    string
		sites                   [][]*fakeBackend // by address
		caching, tickets, tls13 string
		codes                   string
		fixes                   string
	}{
		{"one server", [][]*fakeBackend{backends(1, nil)}, yes, yes, yes, CodeOneSource, ""},
		{"two servers in turn", [][]*fakeBackend{backends(2, nil)}, idsNo, ticketNo, ticketNo, CodeApart, "homing nginx IIS HAProxy Apache"},
		{"three servers in turn", [][]*fakeBackend{backends(3, nil)}, idsNo, ticketNo, ticketNo, CodeApart, "homing nginx IIS HAProxy Apache"},
		{"two that share a key", [][]*fakeBackend{backends(2, shared)}, idsNo, yes, yes, CodeCacheApart, "homing nginx IIS HAProxy Apache"},
		{"two without names of keys", [][]*fakeBackend{backends(2, nameless)}, idsNo, ticketNo, ticketNo, CodeApart, "homing nginx IIS HAProxy Apache"},
		{"nine without names of keys", [][]*fakeBackend{backends(9, nameless)}, idsNo, ticketNo, ticketNo, CodeApart, "homing nginx IIS HAProxy Apache"},
		{"one without a cache", [][]*fakeBackend{backends(1, func(b *fakeBackend) { b.noCache = true })}, idsNo, yes, yes, CodeNoCache, "nginx IIS HAProxy Apache"},
		{
			"one without a cache and tickets",
			[][]*fakeBackend{backends(1, func(b *fakeBackend) { b.noCache, b.noTicket = true, true })},
			idsNo, none, yes, CodeNoCache + " " + CodeNoTickets12, "nginx IIS HAProxy Apache",
		},
		{
			"one without a cache and any tickets",
			[][]*fakeBackend{backends(1, func(b *fakeBackend) { b.noCache, b.noTicket, b.no13 = true, true, true })},
			idsNo, none, none, CodeNoCacheAtAll + " " + CodeNoTickets13 + " " + CodeNoTickets12, "homing nginx IIS HAProxy Apache stunnel nginx IIS HAProxy Apache",
		},
		{"one without IDs", [][]*fakeBackend{backends(1, func(b *fakeBackend) { b.noIDs = true })}, "No (IDs empty)", yes, yes, CodeIDsEmpty + " " + CodeOneSource, ""},
		{"one without tickets", [][]*fakeBackend{backends(1, func(b *fakeBackend) { b.noTicket, b.stateful = true, true })}, yes, none, yes, CodeNoTickets12 + " " + CodeStateful + " " + CodeOneSource, ""},
		{
			"one that gives nothing",
			[][]*fakeBackend{backends(1, func(b *fakeBackend) { b.noIDs, b.noTicket, b.no13 = true, true, true })},
			"No (IDs empty)", none, none, CodeNothingIssued + " " + CodeNoTickets13, "nginx IIS HAProxy Apache stunnel",
		},
		{"one that refuses its tickets", [][]*fakeBackend{backends(1, func(b *fakeBackend) { b.never = true })}, yes, ticketNo, ticketNo, CodeTicketRefused, "nginx IIS HAProxy Apache"},
		{
			"one that takes a ticket once",
			[][]*fakeBackend{backends(1, func(b *fakeBackend) { b.stateful, b.once, b.noTicket = true, true, true })},
			"Partly (1 of 5 accepted)", none, yes, "", "",
		},
		{"TLS 1.2 only", [][]*fakeBackend{backends(1, func(b *fakeBackend) { b.only = tls.VersionTLS12 })}, yes, yes, "No (TLS 1.3 is not spoken)", CodeOnly12 + " " + CodeOneSource, ""},
		{
			"TLS 1.3 only",
			[][]*fakeBackend{backends(1, func(b *fakeBackend) { b.only = tls.VersionTLS13 })},
			"No (TLS 1.2 is not spoken)", "No (TLS 1.2 is not spoken)", yes, CodeOnly13 + " " + CodeOneSource, "",
		},
		{"two addresses of one server", nil, yes, yes, yes, CodeOneSource, ""},
		{
			"two servers at two addresses",
			[][]*fakeBackend{backends(1, nil), backends(1, nil)},
			next + " (0 of 10 accepted)", next + " (0 of 10 accepted)",
			next + " (0 of 10 accepted)", CodeAcross, "homing nginx IIS HAProxy Apache",
		},
		{
			"two at two addresses that share a key",
			[][]*fakeBackend{backends(1, shared), backends(1, shared)},
			next + " (0 of 40 accepted)", yes, yes,
			CodeAcrossCache, "homing",
		},
		{
			"one at one address, two at the next",
			[][]*fakeBackend{backends(1, nil), backends(2, nil)},
			"Partly (5 of 10 accepted)", "Partly (5 of 10 accepted)",
			"Partly (5 of 10 accepted)", CodeApart + " " + CodeAcross, "homing nginx IIS HAProxy Apache",
		},
		{
			"two that share a key, and one without tickets",
			[][]*fakeBackend{append(backends(2, shared), &fakeBackend{noTicket: true, stateful: true})},
			idsNo, "Partly (4 of 5 accepted)", "Partly (2 of 5 accepted)", CodeMixed + " " + CodeStateful, "homing nginx IIS HAProxy Apache",
		},
		{
			"two, and one without tickets",
			[][]*fakeBackend{append(backends(2, nil), &fakeBackend{noTicket: true, stateful: true})},
			idsNo, ticketNo, ticketNo, CodeMixed + " " + CodeStateful, "homing nginx IIS HAProxy Apache",
		},
		{
			"two that share a key and refuse each other's tickets",
			[][]*fakeBackend{{{key: sharedKey, bound: "aaaa"}, {key: sharedKey, bound: "bbbb"}}},
			idsNo, ticketNo, ticketNo, CodeBound, "homing Node.js",
		},
		{
			"one that refuses what resumed conns gave",
			[][]*fakeBackend{backends(1, func(b *fakeBackend) { b.noTicket, b.stateful, b.renewed = true, true, true })},
			yes, none, "Partly (3 of 5 accepted)", CodeRenewed + " " + CodeNoTickets12 + " " + CodeStateful, "nginx IIS HAProxy Apache stunnel",
		},
		{
			"one that refuses one offer of 13",
			[][]*fakeBackend{backends(1, func(b *fakeBackend) { b.every = 13 })},
			yes, yes, "Partly (4 of 5 accepted)", CodeMomentary, "homing-bench",
		},
		{"one of two down", [][]*fakeBackend{{{key: sharedKey}, {down: true}}}, yes, yes, yes, CodeFailed + " " + CodeOneSource, ""},
	} {
		t.Run(tt.what, func(t *testing.T) {
			n := fakeNet{}
			var addrs []string
			for i, site := range tt.sites {
				addr := []string{addrA, addrB}[i]
				n[addr] = &fakeSite{backends: site}
				addrs = append(addrs, addr)
			}
			if tt.sites == nil {
				site := &fakeSite{backends: backends(1, nil)}
				n[addrA], n[addrB], addrs = site, site, []string{addrA, addrB}
			}
			r := look(n, addrs...)
			var codes, fixes []string
			problem := false
			for _, f := range r.Findings {
				codes = append(codes, f.Code)
				problem = problem || f.Problem
			}
			for _, f := range r.Fixes {
				fixes = append(fixes, f.For)
			}
			if tt.what == "one that takes a ticket once" { // the fake takes session IDs once too
				if !r.Addresses[0].PSK.SingleUse || !slices.Contains(codes, CodeSingleUse) {
					t.Errorf("%+v", r.Addresses[0].PSK)
				}
				return
			}
			check := func(what, got, want string) {
				t.Helper()
				if got != want {
					t.Errorf("%s: %q, want %q", what, got, want)
				}
			}
			check("caching", strings.TrimPrefix(r.Caching, "Session resumption (caching): "), tt.caching)
			check("tickets", strings.TrimPrefix(r.Tickets, "Session resumption (tickets): "), tt.tickets)
			check("TLS 1.3", strings.TrimPrefix(r.TLS13, "Session resumption (TLS 1.3): "), tt.tls13)
			check("findings", strings.Join(codes, " "), tt.codes)
			check("fixes", strings.Join(fixes, " "), tt.fixes)
			if r.Lost != problem || r.Lost != (tt.fixes != "") || r.Incomplete {
				t.Errorf("lost %v, incomplete %v", r.Lost, r.Incomplete)
			}
			if t.Failed() {
				b, _ := json.MarshalIndent(r, "", " ")
				t.Logf("%s", b)
			}
		})
	}
}

// A balancer that sends two conns of three to the same backend lets some offers be accepted.
func TestExamineFindsPartly(t *testing.T) {
	two := backends(2, nil)
	r := look(fakeNet{addrA: {backends: []*fakeBackend{two[0], two[0], two[1]}}}, addrA)
	a := &r.Addresses[0]
	if a.SessionID.Verdict != Partly || a.Ticket.Verdict != Partly || a.PSK.Verdict != Partly || a.SessionID.Accepted != 2 {
		t.Errorf("%+v", a)
	}
	if r.Caching != "Session resumption (caching): Partly (2 of 5 accepted)" || len(r.Findings) != 1 || r.Findings[0].Code != CodeApart {
		t.Errorf("%s, %+v", r.Caching, r.Findings)
	}
}

// Where nothing answers, little is tried.
func TestExamineGivesUp(t *testing.T) {
	site := &fakeSite{backends: []*fakeBackend{{down: true}}}
	r := look(fakeNet{addrA: site}, addrA)
	if site.conns != maxFailures || r.Nothing() != addrA+": cannot connect: connection refused" {
		t.Errorf("%d conns, %q", site.conns, r.Nothing())
	}
	// That this machine has no IPv6 is not held against a site; that IPv6 is refused is.
	const addr6 = "[2001:db8::1]:443"
	for _, noRoute := range []bool{false, true} {
		n := fakeNet{addrA: {backends: backends(1, nil)}, addr6: {backends: []*fakeBackend{{down: true, noRoute: noRoute}}}}
		if r := look(n, addrA, addr6); r.Addresses[1].Skipped != noRoute || r.Incomplete == noRoute || r.Lost {
			t.Errorf("no way there %v: %+v", noRoute, r)
		}
	}
}

// Balancers that bring home what they know, and one that goes by the client's address.
func TestExamineFindsBalancers(t *testing.T) {
	shared := func(b *fakeBackend) { b.key = sharedKey }
	for _, tt := range []struct {
		what      string
		list      []*fakeBackend
		certainty Certainty
	}{
		{"keys of their own", backends(3, nil), Certain},
		{"a key of all", backends(3, shared), Likely},
	} {
		site := func() *fakeSite { return &fakeSite{backends: tt.list, home: map[string]*fakeBackend{}} }
		r := look(fakeNet{addrA: site(), addrB: site()}, addrA, addrB)
		if f := r.Findings[0]; f.Code != CodeBalancers || f.Certainty != tt.certainty || r.Fixes[0].Goal != goalShare || len(r.Fixes) != 2 {
			t.Errorf("%s: %+v, %+v", tt.what, r.Findings, r.Across)
		}
		one := site()
		if r := look(fakeNet{addrA: one, addrB: one}, addrA, addrB); r.Lost {
			t.Errorf("%s, balancers that share what they know: %+v", tt.what, r.Findings)
		}
	}
	n := fakeNet{addrA: {backends: backends(2, nil), bySource: true}}
	o := &Options{Sources: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}}
	if err := o.fill(); err != nil {
		t.Fatal(err)
	}
	r := fixedExaminer(o, n).examine(t.Context(), []Address{{Addr: addrA, Name: "www.example.org"}})
	if len(r.Findings) != 1 || r.Findings[0].Code != CodeBySource || r.Caching != "Session resumption (caching): Yes from the same client address, not from the next (0 of 5 accepted)" {
		t.Errorf("%s, %+v", r.Caching, r.Findings)
	}
	// One server is the same from everywhere, and that settles it.
	n[addrA] = &fakeSite{backends: backends(1, nil)}
	r = fixedExaminer(o, n).examine(t.Context(), []Address{{Addr: addrA, Name: "www.example.org"}})
	if len(r.Findings) != 0 || len(r.Across) != 1 || r.Across[0].SessionID != (Offers{5, 5}) {
		t.Errorf("%+v, %+v", r.Findings, r.Across)
	}
}

// Few tries are made up for, or the judgement says that it is open.
func TestExamineFewTries(t *testing.T) {
	for _, tt := range []struct {
		what string
		list []*fakeBackend
		want map[string]bool
	}{
		{"one that refuses what resumed conns gave", backends(1, func(b *fakeBackend) { b.noTicket, b.stateful, b.renewed = true, true, true }), map[string]bool{"": true, CodeRenewed: true, CodeUnsure: true, CodeChanged: true}},
		{"two in turn", backends(2, nil), map[string]bool{CodeApart: true}},
		{"two in turn without names of keys", backends(2, func(b *fakeBackend) { b.key, b.secret = "", string(random(8)) }), map[string]bool{CodeApart: true}},
		{"two in turn that refuse each other's tickets", []*fakeBackend{{key: sharedKey, bound: "aaaa"}, {key: sharedKey, bound: "bbbb"}}, map[string]bool{CodeBound: true}},
		{"one without a cache", backends(1, func(b *fakeBackend) { b.noCache = true }), map[string]bool{CodeNoCache: true}},
	} {
		for tries := 1; tries <= 20; tries++ {
			o := &Options{Tries: tries}
			if err := o.fill(); err != nil {
				t.Fatal(err)
			}
			r := fixedExaminer(o, fakeNet{addrA: {backends: tt.list}}).examine(t.Context(), []Address{{Addr: addrA, Name: "www.example.org"}})
			code := ""
			if r.Lost {
				code = r.Findings[0].Code
			}
			if !tt.want[code] || code == "" && tries > 1 {
				t.Errorf("%s, %d tries: %+v", tt.what, tries, r.Findings)
			}
		}
	}
}

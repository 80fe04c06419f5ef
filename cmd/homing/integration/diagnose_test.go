package integration

import (
	"slices"
	"strings"
	"testing"

	"homing/bench/balancers"
	"homing/bench/diagnose"
	"homing/bench/farm"
	"homing/bench/testkit"
)

// diagnosis is what is expected of a site.
type diagnosis struct {
	caching, tickets, tls13 string
	problems                []string // codes
}

// allWell is the site that resumes whatever it gives.
func allWell() diagnosis { return diagnosis{caching: "Yes", tickets: "Yes", tls13: "Yes"} }

const (
	idsRefused     = "No (IDs assigned but not accepted)"
	ticketsRefused = "No (tickets issued but not accepted)"
)

// examine examines addresses with the certificate of the farm.
func examine(t *testing.T, cert *farm.Certificate, addrs ...string) *diagnose.Report {
	t.Helper()
	var targets []diagnose.Target
	for _, addr := range addrs {
		target, err := diagnose.ParseTarget(addr)
		testkit.Check(t, err)
		targets = append(targets, target)
	}
	r, err := diagnose.Run(t.Context(), targets, diagnose.Options{Name: farm.ServerName, Roots: farm.Roots(cert)})
	testkit.Check(t, err)
	return r
}

func (d *diagnosis) check(t *testing.T, r *diagnose.Report) {
	t.Helper()
	var problems []string
	for _, f := range r.Findings {
		if f.Problem {
			problems = append(problems, f.Code)
		}
	}
	_, caching, _ := strings.Cut(r.Caching, ": ")
	_, tickets, _ := strings.Cut(r.Tickets, ": ")
	_, tls13, _ := strings.Cut(r.TLS13, ": ")
	if caching != d.caching || tickets != d.tickets || tls13 != d.tls13 || !slices.Equal(problems, d.problems) ||
		r.Incomplete || r.Lost != (len(problems) > 0) {
		var b strings.Builder
		_ = r.WriteText(&b) // it is all in memory
		t.Errorf("want %+v, got problems %v:\n%s", *d, problems, b.String())
	}
}

func TestIntegrationDiagnoseNginx(t *testing.T) {
	for _, tt := range []struct {
		what string
		cfg  farm.NginxConfig
		want diagnosis
	}{
		{"as it should be", farm.NginxConfig{}, allWell()},
		{"TLS 1.2 only", farm.NginxConfig{Protocols: "TLSv1.2"}, diagnosis{"Yes", "Yes", "No (TLS 1.3 is not spoken)", nil}},
		{"TLS 1.3 only", farm.NginxConfig{Protocols: "TLSv1.3"}, diagnosis{"No (TLS 1.2 is not spoken)", "No (TLS 1.2 is not spoken)", "Yes", nil}},
		{"without tickets", farm.NginxConfig{NoTickets: true}, diagnosis{"Yes", "No (no tickets issued)", "Yes", nil}},
		{"without a session cache", farm.NginxConfig{SessionCache: "none"}, diagnosis{idsRefused, "Yes", "Yes", []string{diagnose.CodeNoCache}}},
		{
			"without a session cache and tickets",
			farm.NginxConfig{SessionCache: "none", NoTickets: true},
			diagnosis{idsRefused, "No (no tickets issued)", ticketsRefused, []string{diagnose.CodeNoneAccepted}},
		},
		{"with early data", farm.NginxConfig{EarlyData: true}, allWell()},
	} {
		t.Run(tt.what, func(t *testing.T) {
			servers, cert := three(t, tt.cfg, farm.NewRSA)
			r := examine(t, cert, servers[0].Addr())
			tt.want.check(t, r)
			if a := &r.Addresses[0]; !tt.cfg.NoTickets && (len(a.PSK.Keys) > 1 || len(a.Ticket.Keys) > 1) {
				t.Errorf("keys of one server: %+v, %+v", a.Ticket.Keys, a.PSK.Keys)
			}
		})
	}
}

// Three nginx behind round robin, and what shared keys change; through homing all is well, and across the three themselves
// each finding is by address.
func TestIntegrationDiagnoseBalancers(t *testing.T) {
	apart := diagnosis{idsRefused, ticketsRefused, ticketsRefused, []string{diagnose.CodeApart}}
	servers, cert := three(t, farm.NginxConfig{}, farm.NewRSA)
	roundRobin(t, cert, addrs(servers)[:2], apart, 2)
	roundRobin(t, cert, addrs(servers), apart, 3)
	h := startHoming(t, addrs(servers))
	want := allWell()
	want.check(t, examine(t, cert, h.addr))

	r := examine(t, cert, addrs(servers)...)
	next := "Yes at the same address, not at the next (0 of 15 accepted)"
	(&diagnosis{next, next, next, []string{diagnose.CodeAcross}}).check(t, r)
	for _, x := range r.Across {
		if x.SameKey || x.SessionID.Offered != diagnose.DefaultTries || x.PSK.Offered != diagnose.DefaultTries {
			t.Errorf("%+v", x)
		}
	}
}

func TestIntegrationDiagnoseSharedKey(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{TicketKey: []byte(strings.Repeat("0123456789abcdef", 5))}, farm.NewRSA)
	roundRobin(t, cert, addrs(servers)[:2], diagnosis{idsRefused, "Yes", "Yes", []string{diagnose.CodeCacheApart}}, 1)
	r := examine(t, cert, addrs(servers)...)
	want := diagnosis{"Yes at the same address, not at the next (0 of 60 accepted)", "Yes", "Yes", []string{diagnose.CodeAcrossCache}}
	want.check(t, r)
	for _, x := range r.Across {
		if !x.SameKey {
			t.Errorf("the shared key was not seen: %+v", x)
		}
	}
	h := startHoming(t, addrs(servers))
	well := allWell()
	well.check(t, examine(t, cert, h.addr))
}

// roundRobin examines servers through HAProxy's round robin.
func roundRobin(t *testing.T, cert *farm.Certificate, backends []string, want diagnosis, keys int) {
	t.Helper()
	kit, err := balancers.NewKit(t.Context(), balancers.Paths{})
	testkit.Check(t, err)
	list, err := balancers.Select([]string{balancers.HAProxyRR})
	testkit.Check(t, err)
	h, err := kit.Start(t.Context(), list[0], balancers.Setup{Backends: backends})
	testkit.Check(t, err)
	defer func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
	}()
	r := examine(t, cert, h.Addrs()[0])
	want.check(t, r)
	if a := &r.Addresses[0]; len(a.Ticket.Keys) != keys || len(a.PSK.Keys) != keys {
		t.Errorf("%d keys wanted: %+v, %+v", keys, a.Ticket.Keys, a.PSK.Keys)
	}
}

// Servers built on other libraries, alone and two of a kind behind homing.
func TestIntegrationDiagnoseStacks(t *testing.T) {
	needServers(t)
	cert, err := farm.NewRSA()
	testkit.Check(t, err)
	for _, kind := range serverKinds() {
		t.Run(kind.name, func(t *testing.T) {
			var backends []string
			for i := range 2 {
				s := kind.start(t, cert, i)
				t.Cleanup(func() {
					if err := s.stop(); err != nil {
						t.Error(err)
					}
				})
				backends = append(backends, s.addr)
			}
			want := allWell()
			r := examine(t, cert, backends[0])
			if kind.noTicket {
				want.tickets = "No (no tickets issued)"
			}
			if kind.noID {
				want.caching = "No (IDs empty)"
				if r.Addresses[0].SessionID.Issued > 0 {
					want.caching, want.problems = idsRefused, []string{diagnose.CodeNoCache}
				}
			}
			want.check(t, r)
			h := startHoming(t, backends)
			want.check(t, examine(t, cert, h.addr))
		})
	}
}

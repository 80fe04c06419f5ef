package pool

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"homing/balancer/netaddr"
)

// TestRefuse: what Options.Refuse refuses is no backend, whether it is given, resolved or announced, and Reconfigure asks
// again.
func TestRefuse(t *testing.T) {
	bad := netaddr.MustParse("192.0.2.9:443")
	opt := Options{
		Discover: true, Refuse: func(a netaddr.Addr) bool { return a == bad },
		Resolver: func(context.Context, string) (Answer, error) {
			return Answer{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.9"), netip.MustParseAddr("192.0.2.2")}}, nil
		},
	}
	check := func(what string, p *Pool, refused []string, want ...string) {
		t.Helper()
		var got []string
		for _, b := range p.Snapshot().All() {
			got = append(got, b.Addr.String())
		}
		if !slices.Equal(got, want) || !slices.Equal(p.Refused(), refused) {
			t.Errorf("%s: %v, and %v refused; want %v, and %v", what, got, p.Refused(), want, refused)
		}
	}
	bads := []string{bad.String()}
	p := newPool(t, opt, Spec{Addr: "192.0.2.9:443"}, Spec{Addr: "192.0.2.1:443"})
	check("given", p, bads, "192.0.2.1:443")
	if err := p.Set([]Spec{{Addr: "name.example:443"}}); err != nil {
		t.Fatal(err)
	}
	check("resolved", p, bads, "192.0.2.2:443")
	if err := p.Set([]Spec{{Addr: "192.0.2.1:443"}}); err != nil {
		t.Fatal(err)
	}
	check("not there", p, nil, "192.0.2.1:443")
	discover(t, p, found("192.0.2.9:443", 1, DrainOff), found("192.0.2.3:443", 1, DrainOff))
	check("announced", p, bads, "192.0.2.1:443", "192.0.2.3:443")
	opt.Refuse = nil
	if err := p.Reconfigure([]Spec{{Addr: "192.0.2.1:443"}}, opt); err != nil {
		t.Fatal(err)
	}
	check("no longer refused", p, nil, "192.0.2.1:443", "192.0.2.3:443", "192.0.2.9:443")
}

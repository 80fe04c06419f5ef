//go:build linux

package config

import (
	"net/netip"
	"testing"

	"homing/balancer/netaddr"
)

// TestTakenBy: which conns would come back, where 192.0.2.7 and 2001:db8::7 are this machine's.
func TestTakenBy(t *testing.T) {
	own := func(a netip.Addr) bool {
		return a == netip.MustParseAddr("192.0.2.7") || a == netip.MustParseAddr("2001:db8::7") || a.IsLoopback()
	}
	for _, tt := range []struct {
		listen, backend string
		taken           bool
	}{
		{":443", "192.0.2.7:443", true},
		{":443", "[2001:db8::7]:443", true},
		{":443", "127.0.0.1:443", true},
		{":443", "192.0.2.7:444", false},
		{":443", "192.0.2.8:443", false},
		{"0.0.0.0:443", "192.0.2.7:443", true},
		{"0.0.0.0:443", "[2001:db8::7]:443", false},
		{"[::]:443", "192.0.2.7:443", true},
		{"127.0.0.1:443", "127.0.0.1:443", true},
		{"127.0.0.1:443", "192.0.2.7:443", false},
		{"192.0.2.8:443", "192.0.2.8:443", true}, // an address that came later
		{"unix:/run/in", "unix:/run/in", true},
		{"unix:/run/in", "192.0.2.7:443", false},
		{":443", "unix:/run/out", false},
	} {
		c := &Config{Listeners: []Listener{{Address: "127.0.0.9:1"}, {Address: tt.listen}}}
		if got := c.TakenBy(netaddr.MustParse(tt.backend), own) != nil; got != tt.taken {
			t.Errorf("listener %s, backend %s: %v", tt.listen, tt.backend, got)
		}
	}
}

package pool

import (
	"errors"
	"strings"
	"testing"
)

func TestParseSpec(t *testing.T) {
	tests := []struct {
		addr, host, literal string
		why                 string
	}{
		{"192.0.2.1:443", "", "192.0.2.1:443", "a plain IPv4 address"},
		{"[::1]:443", "", "[::1]:443", "an IPv6 address in brackets"},
		{"[2001:DB8:0::1]:443", "", "[2001:db8::1]:443", "in its canonical form"},
		{"[::ffff:192.0.2.1]:443", "", "192.0.2.1:443", "a mapped address is the IPv4 one"},
		{"[fe80::1%eth0]:443", "", "[fe80::1%eth0]:443", "a link-local address with its zone"},
		{"name.example:8443", "name.example", "invalid AddrPort", "a name"},
	}
	for _, tt := range tests {
		got, err := parseSpec(Spec{Addr: tt.addr})
		if err != nil || got.host != tt.host || got.addr.String() != tt.literal || got.Weight != 1 {
			t.Errorf("%s: parseSpec(%q) = %+v, %v", tt.why, tt.addr, got, err)
		}
	}
}

func TestParseSpecRefuses(t *testing.T) {
	tests := []struct {
		spec        Spec
		remedy, why string
	}{
		{Spec{Addr: "192.0.2.1"}, "write 192.0.2.1:443", "the port is missing"},
		{Spec{Addr: "::1:443"}, "[2001:db8::1]:443", "IPv6 needs brackets"},
		{Spec{}, "HOST:PORT", "nothing at all"},
		{Spec{Addr: ":443"}, "neither an IP address nor a name", "a port is not a backend"},
		{Spec{Addr: "0.0.0.0:443"}, "give the backend's own", "the wildcard is for listeners"},
		{Spec{Addr: "[::]:443"}, "give the backend's own", "so is the other"},
		{Spec{Addr: "224.0.0.1:443"}, "give the backend's own", "TCP has no multicast"},
		{Spec{Addr: "300.1.1.1:443"}, "not an IPv4 address", "no name consists of digits only"},
		{Spec{Addr: "a b:443"}, "neither an IP address nor a name", "a blank in a name"},
		{Spec{Addr: "[fe80::zz]:443"}, "neither an IP address nor a name", "a broken IPv6 address is no name"},
		{Spec{Addr: "name:https"}, "1 to 65535", "ports are numbers"},
		{Spec{Addr: "name:0"}, "1 to 65535", "port 0 cannot be connected to"},
		{Spec{Addr: "name:65536"}, "1 to 65535", "a port has 16 bits"},
		{Spec{Addr: "name:443", Weight: -1}, "not from 1 to 1000", "a negative weight"},
		{Spec{Addr: "name:443", Weight: 1001}, "not from 1 to 1000", "the largest weight is 1000"},
		{Spec{Addr: "name:443", MaxConns: -1}, "0 for no bound", "a negative bound"},
	}
	for _, tt := range tests {
		_, err := parseSpec(tt.spec)
		var specErr *SpecError
		if !errors.As(err, &specErr) || specErr.Spec != tt.spec.Addr {
			t.Errorf("%s: parseSpec(%+v) = %v, want a SpecError that names the value", tt.why, tt.spec, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, tt.remedy) || strings.Contains(text, "\n") {
			t.Errorf("%s: parseSpec(%+v) says %q, want one line with %q", tt.why, tt.spec, text, tt.remedy)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	good := []Spec{{Addr: "192.0.2.1:443"}}
	tests := []struct {
		specs []Spec
		opt   Options
		want  string
		why   string
	}{
		{nil, Options{}, "at least one", "a pool needs a backend"},
		{[]Spec{{Addr: "192.0.2.1:443", Weight: -1}}, Options{}, "weight -1", "a weight below 1"},
		{[]Spec{{Addr: "192.0.2.1:443", MaxConns: -1}}, Options{}, "max-conns -1", "a negative bound"},
		{good, Options{LoadFactor: 0.5}, "load factor 0.5", "a factor below 1 overloads everyone"},
		{good, Options{Fall: -1}, "negative", "a negative count"},
		{good, Options{Policy: ClientHash + 1}, "no policy", "a policy that is none"},
		{good, Options{SecondChance: SecondChance{Tries: MaxSecondTries + 1}}, "give 1 to 8", "more tries than there are"},
		{good, Options{SecondChance: SecondChance{Budget: 8.1}}, "give 0 to 8", "a budget beyond all conns"},
	}
	for _, tt := range tests {
		if _, err := New("web", tt.specs, tt.opt); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: New = %v, want an error with %q", tt.why, err, tt.want)
		}
	}
}

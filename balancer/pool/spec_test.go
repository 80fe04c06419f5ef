package pool

import (
	"errors"
	"strings"
	"testing"
)

func TestParseSpec(t *testing.T) {
	tests := []struct {
		text string
		want Spec
		why  string
	}{
		{"192.0.2.1:443", Spec{Addr: "192.0.2.1:443"}, "a plain IPv4 address"},
		{"[::1]:443", Spec{Addr: "[::1]:443"}, "an IPv6 address in brackets"},
		{"[fe80::1%eth0]:443", Spec{Addr: "[fe80::1%eth0]:443"}, "a link-local address with its zone"},
		{"name.example:8443,weight=3", Spec{Addr: "name.example:8443", Weight: 3}, "a name with a weight"},
		{"10.0.0.1:1,weight=1000,maxconns=5", Spec{Addr: "10.0.0.1:1", Weight: 1000, MaxConns: 5}, "both options, largest weight"},
	}
	for _, tt := range tests {
		got, err := ParseSpec(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("%s: ParseSpec(%q) = %+v, %v; want %+v", tt.why, tt.text, got, err, tt.want)
		}
	}
}

func TestParseSpecRefuses(t *testing.T) {
	tests := []struct{ text, remedy, why string }{
		{"192.0.2.1", "write 192.0.2.1:443", "the port is missing"},
		{"::1:443", "[2001:db8::1]:443", "IPv6 needs brackets"},
		{"", "HOST:PORT", "nothing at all"},
		{":443", "neither an IP address nor a name", "a port is not a backend"},
		{"0.0.0.0:443", "give the backend's own", "the wildcard is for listeners"},
		{"[::]:443", "give the backend's own", "so is the other"},
		{"224.0.0.1:443", "give the backend's own", "TCP has no multicast"},
		{"300.1.1.1:443", "not an IPv4 address", "no name consists of digits only"},
		{"a b:443", "neither an IP address nor a name", "a blank in a name"},
		{"[fe80::zz]:443", "neither an IP address nor a name", "a broken IPv6 address is no name"},
		{"name:https", "1 to 65535", "ports are numbers"},
		{"name:0", "1 to 65535", "port 0 cannot be connected to"},
		{"name:65536", "1 to 65535", "a port has 16 bits"},
		{"name:443,weight=0", "whole number from 1", "weight 0 would be a drained backend"},
		{"name:443,weight=1001", "1 to 1000", "the largest weight is 1000"},
		{"name:443,weight", "weight=2", "an option without a value"},
		{"name:443,wait=3", "weight=N or maxconns=N", "an unknown option"},
	}
	for _, tt := range tests {
		_, err := ParseSpec(tt.text)
		var specErr *SpecError
		if !errors.As(err, &specErr) || specErr.Spec != tt.text {
			t.Errorf("%s: ParseSpec(%q) = %v, want a SpecError that names the value", tt.why, tt.text, err)
			continue
		}
		if text := err.Error(); !strings.Contains(text, tt.remedy) || strings.Contains(text, "\n") {
			t.Errorf("%s: ParseSpec(%q) says %q, want one line with %q", tt.why, tt.text, text, tt.remedy)
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
		{[]Spec{{Addr: "192.0.2.1:443", MaxConns: -1}}, Options{}, "maxconns -1", "a negative bound"},
		{good, Options{LoadFactor: 0.5}, "load factor 0.5", "a factor below 1 overloads everyone"},
		{good, Options{Fall: -1}, "negative", "a negative count"},
	}
	for _, tt := range tests {
		if _, err := New("web", tt.specs, tt.opt); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: New = %v, want an error with %q", tt.why, err, tt.want)
		}
	}
}

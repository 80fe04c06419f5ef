//go:build linux

package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"homing/balancer/pool"
)

func TestParseBackend(t *testing.T) {
	for _, tt := range []struct {
		in      string
		want    pool.Spec
		wantErr string
	}{
		{in: "192.0.2.7:443", want: pool.Spec{Addr: "192.0.2.7:443", Weight: 1}},
		{in: "[2001:db8::7]:443,weight=1000", want: pool.Spec{Addr: "[2001:db8::7]:443", Weight: 1000}},
		{in: "name:443,max-conns=5,weight=2", want: pool.Spec{Addr: "name:443", Weight: 2, MaxConns: 5}},
		{in: "", wantErr: "not an address with a port"},
		{in: "2001:db8::7:443", wantErr: "not an address with a port"},
		{in: ":443", wantErr: "not an address with a port"},
		{in: "name:https", wantErr: `the port "https" is not a number from 1 to 65535`},
		{in: "name:0", wantErr: "the port"},
		{in: "name:443,weight=1001", wantErr: "weight is out of bounds: give 1 to 1000"},
		{in: "name:443,weight", wantErr: "weight is not a whole number"},
		{in: "name:443,max-conns=0", wantErr: "max-conns is out of bounds"},
		{in: "name:443,", wantErr: `"" is not known`},
		{in: "name:443,backup", wantErr: `"backup" is not known: a backend takes weight=N and max-conns=N`},
	} {
		got, err := parseBackend(tt.in)
		if !matches(err, tt.wantErr) {
			t.Errorf("%q: error %v, want %q", tt.in, err, tt.wantErr)
		} else if diff := cmp.Diff(tt.want, got); err == nil && diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.in, diff)
		}
	}
}

// matches says whether err is what a test wants: nil for "", else an error that contains it.
func matches(err error, want string) bool {
	if want == "" || err == nil {
		return want == "" && err == nil
	}
	return strings.Contains(err.Error(), want)
}

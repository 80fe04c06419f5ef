package tlscore

import (
	"bytes"
	"crypto/tls"
	"testing"

	"homing/bench/testkit"
)

// A hello that lies about everything but what the server checks is answered: with the session at each place among others, in the
// first hello and in the one that answers a HelloRetryRequest, and with others in the first.
func TestDeviation(t *testing.T) {
	addr, o := serve(t, testkit.ECDSA(t), nil)
	o = only(o, tls.VersionTLS13)
	o.Session = get(t, addr, o).Session()
	junk := bytes.Repeat([]byte("junk"), 40)
	for name, test := range map[string]struct {
		first, second *Deviation
		resumed       bool
	}{
		"among others":                {&Deviation{Identities: [][]byte{junk, nil, junk}}, nil, true},
		"others alone":                {&Deviation{Identities: [][]byte{junk, junk}}, nil, false},
		"none":                        {&Deviation{NoIdentities: true}, nil, false},
		"again":                       {&Deviation{NoShares: true}, nil, true},
		"another one at first":        {&Deviation{NoShares: true, Identities: [][]byte{junk}}, nil, true},
		"another place":               {&Deviation{NoShares: true}, &Deviation{Identities: [][]byte{junk, junk, nil}}, true},
		"none at first":               {&Deviation{NoShares: true, NoIdentities: true}, nil, true},
		"withdrawn":                   {&Deviation{NoShares: true}, &Deviation{NoIdentities: true}, false},
		"in pieces":                   {&Deviation{NoShares: true, RecordBytes: 7}, &Deviation{RecordBytes: 3, PadTo: 2000}, true},
		"another name and protocol":   {&Deviation{ServerName: "b.test", ALPN: []string{"x"}}, nil, true},
		"first of all, and the usual": {&Deviation{Identities: [][]byte{nil, junk}}, &Deviation{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			o := o
			o.First, o.Second = test.first, test.second
			d := drive(t, addr, &o)
			if err := d.shake(); err != nil {
				t.Fatal(err)
			}
			if s := d.State(); s.Resumed != test.resumed || s.Retried != test.first.NoShares {
				t.Errorf("%+v", s)
			}
			if err := d.ask(); err != nil {
				t.Error(err)
			}
		})
	}
}

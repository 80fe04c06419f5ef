package cluster

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"homing/balancer/pool"
)

// FuzzMessage is what comes as a user message: a command or an answer, sealed or not.
func FuzzMessage(f *testing.F) {
	nodeKey := key(100)
	addr := netip.MustParseAddrPort("192.0.2.1:443")
	for _, order := range []*Order{
		{Op: OpKeyAdd, Key: key(1)},
		{Op: OpKeyRemove, Print: PrintOf(key(1)), Force: true},
		{Op: OpDrain, Backend: addr, Plan: pool.DrainPlan{Mode: pool.DrainSoft, For: time.Hour}},
		{Op: OpWeight, Backend: addr, Weight: 7},
		{Op: OpIdle, Backend: netip.MustParseAddrPort("[2001:db8::1]:443"), Pool: 1},
		{Op: opStanding, standing: []standingOrder{{Backend: addr, Mode: pool.DrainHard}}},
	} {
		sealed, err := order.Seal(nodeKey, time.Unix(1_000_000, 0))
		if err != nil {
			f.Fatal(err)
		}
		plain, err := unseal([][]byte{nodeKey}, sealed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(append([]byte{4}, append([]byte("node"), sealed...)...), plain)
	}
	f.Add([]byte{}, append(make([]byte, commandHeader+nonceBytes), 3, 'a', 'b'))
	f.Fuzz(func(t *testing.T, message, plain []byte) {
		if asker, sealed, ok := cutAsker(message); ok {
			if len(asker)+len(sealed)+1 != len(message) {
				t.Errorf("%d bytes became %d and %d", len(message), len(asker), len(sealed))
			}
			_, _ = openCommand([][]byte{nodeKey}, sealed) // it says no, and does not panic
			_, _, _ = openAnswer([][]byte{nodeKey}, sealed)
		}
		// What a holder of the node key seals is read too, whatever it is.
		if o, err := parseCommand(plain); err == nil && o == nil {
			t.Error("neither a command nor an error")
		}
		if len(plain) < commandHeader {
			return
		}
		sealed, err := seal(nodeKey, opAnswer, false, plain[commandHeader:], time.Unix(1_000_000, 0))
		if err != nil {
			t.Fatal(err)
		}
		if nonce, _, err := openAnswer([][]byte{nodeKey}, sealed); err == nil &&
			!bytes.Equal(nonce[:], plain[commandHeader:commandHeader+nonceBytes]) {
			t.Errorf("the answer is to %x", nonce)
		}
	})
}

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
	for _, order := range []Order{
		&KeyCommand{Op: KeyAdd, Key: key(1)}, &KeyCommand{Op: KeyRemove, Print: PrintOf(key(1)), Force: true},
		&DrainCommand{Backend: addr, Plan: pool.DrainPlan{Mode: pool.DrainSoft, For: time.Hour}},
		&WeightCommand{Backend: addr, Weight: 7}, &IdleCommand{Backend: netip.MustParseAddrPort("[2001:db8::1]:443"), Pool: 1},
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
	if sealed, err := (&standingCommand{orders: []order{{Backend: addr, Mode: pool.DrainHard}}}).seal(nodeKey, time.Unix(1_000_000, 0)); err != nil {
		f.Fatal(err)
	} else if plain, err := unseal([][]byte{nodeKey}, sealed); err != nil {
		f.Fatal(err)
	} else {
		f.Add(append([]byte{4}, append([]byte("node"), sealed...)...), plain)
	}
	f.Add([]byte{}, append(make([]byte, commandHeader+nonceBytes), 3, 'a', 'b'))
	f.Fuzz(func(t *testing.T, message, plain []byte) {
		if asker, sealed, ok := cutAsker(message); ok {
			if len(asker)+len(sealed)+1 != len(message) {
				t.Errorf("%d bytes became %d and %d", len(message), len(asker), len(sealed))
			}
			_, _, _ = openCommand([][]byte{nodeKey}, sealed) // it says no, and does not panic
			_, _, _ = openAnswer([][]byte{nodeKey}, sealed)
		}
		// What a holder of the node key seals is read too, whatever it is.
		if c, _, err := parseCommand(plain); err == nil && c == nil {
			t.Error("neither a command nor an error")
		}
		if len(plain) < commandHeader {
			return
		}
		sealed, err := seal(nodeKey, opAnswer, false, plain[commandHeader:], time.Unix(1_000_000, 0))
		if err != nil {
			t.Fatal(err)
		}
		if nonce, _, err := openAnswer([][]byte{nodeKey}, sealed); err == nil && !bytes.Equal(nonce[:], plain[commandHeader:commandHeader+nonceBytes]) {
			t.Errorf("the answer is to %x", nonce)
		}
	})
}

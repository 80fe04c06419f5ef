package tlsparse

import "testing"

func TestFlightOf(t *testing.T) {
	rec := func(typ uint8, body ...byte) []byte {
		return append([]byte{typ, 3, 3, byte(len(body) >> 8), byte(len(body))}, body...)
	}
	msg := func(typ uint8, n int) []byte {
		return append([]byte{typ, 0, 0, byte(n)}, make([]byte, n)...)
	}
	join := func(parts ...[]byte) (b []byte) {
		for _, p := range parts {
			b = append(b, p...)
		}
		return b
	}
	sh, cert, helloDone := msg(2, 70), msg(11, 200), msg(14, 0)
	ccs, fin, app := rec(20, 1), rec(22, make([]byte, 40)...), rec(23, make([]byte, 90)...)
	const server = MessageServerHelloDone
	for _, test := range []struct {
		name      string
		b         []byte
		done      uint8
		open      bool
		protected int
	}{
		{"nothing", nil, server, false, 0},
		{"a ServerHello alone is followed by more in every version", rec(22, sh...), server, true, 0},
		{"certificate without ServerHelloDone", rec(22, join(sh, cert)...), server, true, 0},
		{"a full TLS 1.2 flight in one record", rec(22, join(sh, cert, helloDone)...), server, false, 0},
		{"the same in a record a message", join(rec(22, sh...), rec(22, cert...), rec(22, helloDone...)), server, false, 0},
		{"a message that goes on in the next record", rec(22, cert[:100]...), server, true, 0},
		{"TLS 1.2 resumption without its Finished", join(rec(22, sh...), ccs), server, true, 0},
		{"TLS 1.2 resumption", join(rec(22, sh...), ccs, fin), server, false, 0},
		{"TLS 1.3 without a protected record", join(rec(22, sh...), ccs), server, true, 0},
		{"TLS 1.3", join(rec(22, sh...), ccs, app, app), server, false, 180},
		{"half a header", join(rec(22, helloDone...), []byte{22, 3}), server, true, 0},
		{"half a record", join(rec(22, helloDone...), app[:20]), server, true, 0},
		{"an alert", rec(21, 2, 40), server, false, 0},
		{"a TLS 1.2 client's key exchange alone", rec(22, msg(16, 66)...), 0, true, 0},
		{"with ChangeCipherSpec", join(rec(22, msg(16, 66)...), ccs), 0, true, 0},
		{"a TLS 1.2 client's whole flight", join(rec(22, msg(16, 66)...), ccs, fin), 0, false, 0},
		{"a TLS 1.3 client's ChangeCipherSpec alone", ccs, 0, true, 0},
		{"with its Finished", join(ccs, app), 0, false, 90},
	} {
		t.Run(test.name, func(t *testing.T) {
			if f := FlightOf(test.b, test.done); f.Open != test.open || f.Protected != test.protected {
				t.Errorf("%+v, want open %v and %d bytes protected", f, test.open, test.protected)
			}
			if n := testing.AllocsPerRun(100, func() { FlightOf(test.b, test.done) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func FuzzFlight(f *testing.F) {
	f.Add([]byte{22, 3, 3, 0, 4, 14, 0, 0, 0}, uint8(14))
	f.Add([]byte{20, 3, 3, 0, 1, 1, 23, 3, 3, 0, 2, 1, 2}, uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, done uint8) {
		if got := FlightOf(b, done); got.Protected > len(b) {
			t.Errorf("%d bytes protected of %d", got.Protected, len(b))
		}
	})
}

// An alert is two bytes, with their type and a tag of 16 bytes, or 8.
func TestMayBeAlert(t *testing.T) {
	for n, want := range map[int]bool{15: false, 16: true, 17: false, 23: false, 24: true, 25: false} {
		if MayBeAlert(n) != want {
			t.Errorf("%d bytes: %v", n, !want)
		}
	}
}

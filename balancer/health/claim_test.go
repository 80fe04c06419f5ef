package health

import (
	"testing"

	"homing/balancer/affinity"
	"homing/bench/testkit"
)

// TestClaims: a backend that issues tickets under the name of another one's key draws nothing to itself by that, whatever
// clients are refused, and takes nothing from the other; one that holds the key becomes a home.
func TestClaims(t *testing.T) {
	for _, tt := range []struct {
		name   string
		secret byte // of the second backend's ticket key; that of the first is 1
		shared bool
	}{
		{"only the name", 2, false},
		{"the key", 1, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			first, second := serve(t, named(keyA), nil), serve(t, named(keyA), nil)
			first.config.SetSessionTicketKeys([][32]byte{{1}})
			second.config.SetSessionTicketKeys([][32]byte{{tt.secret}})
			lab := newLab(t, nil, first.addr, second.addr)
			defer lab.known.Watch()()
			list := lab.running()
			if list[0].backend.Addr.String() != first.addr {
				list[0], list[1] = list[1], list[0]
			}
			holder, other := list[0], list[1]
			// goesTo is where 100 tickets of the key would go.
			goesTo := func() (home, drawn int) {
				for number := range byte(100) {
					o := affinity.Offer{Kind: affinity.OfferPSK}
					o.Add(lab.ticket(keyA, number))
					h := lab.known.Find(&o, lab.store.Now())
					switch {
					case h.Source != affinity.SourceTicketKey:
					case h.ID == uint32(holder.backend.ID):
						home++
					case h.ID == uint32(other.backend.ID):
						drawn++
					default:
						for i, id := range h.Set {
							switch {
							case h.Doubted>>i&1 != 0:
							case id == uint32(holder.backend.ID):
								home++
							default:
								drawn++
							}
						}
					}
				}
				return home, drawn
			}
			lab.round(holder)
			testkit.Eventually(t, "the key", func() bool { home, _ := goesTo(); return home == 100 })
			lab.round(other)
			for range 5 {
				lab.refuse(holder, keyA, 1)
				// The other issues all the time, to clients.
				lab.known.IssuedTicket(lab.ticket(keyA, 200), 0, uint32(other.backend.ID), lab.store.Now())
				if !tt.shared {
					if home, drawn := goesTo(); home != 100 || drawn != 0 {
						t.Fatalf("%d of 100 go to the holder, %d to the other", home, drawn)
					}
				}
				lab.round(holder)
				lab.round(other)
			}
			if tt.shared {
				testkit.Eventually(t, "the second home", func() bool { _, drawn := goesTo(); return drawn == 100 })
			}
			if home, _ := goesTo(); home != 100 {
				t.Errorf("%d of 100 may go to the holder", home)
			}
		})
	}
}

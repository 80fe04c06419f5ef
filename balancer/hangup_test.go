//go:build linux

package balancer

import (
	"testing"

	"homing/balancer/pool"
)

// A backend that has hung up on a ticket is not the first to be asked with the next one of that name, whether there was a
// replay or not: else every client would take one out of the budget, and fail when that is empty.
func TestHangUpIsRemembered(t *testing.T) {
	for _, poor := range []bool{false, true} {
		r := newRig(t)
		for range 3 {
			r.serveByHand()
		}
		r.prepare(pool.Options{}, func(c *Config) { c.HoldTimeout = patience }, withPool(func(o *pool.Options) { o.SecondChance.Budget = 1e-9 }))
		if poor {
			r.share().budget = 0
		}
		r.run()
		c := r.dial()
		sent := hello{ticket: named("sixteen bytes nm", 1)}.bytes()
		write(t, c, sent)
		nss := r.arrival()
		read(t, nss, len(sent))
		write(t, nss, alert(2, 47))
		sendFIN(nss)
		if poor {
			read(t, c, len(alert(2, 47)))
		} else {
			other := r.arrival()
			read(t, other, len(sent))
			other.Close()
		}
		c.Close()
		for i := range 3 {
			c := r.dial()
			sent := hello{ticket: named("sixteen bytes nm", 2+i)}.bytes()
			write(t, c, sent)
			b := r.arrival()
			if b.server == nss.server {
				t.Errorf("offer %d went to the backend that has hung up on one of that name (no budget: %v)", i, poor)
			}
			read(t, b, len(sent))
			c.Close()
			b.Close()
		}
		r.stop()
	}
}

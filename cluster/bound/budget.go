package bound

import (
	"net/netip"
	"sync"
	"time"
)

// maxBudgets bounds the addresses that are told apart.
const maxBudgets = 4096

// Budget bounds what one address may have of something in a second. Its methods may be called by any goroutine.
type Budget struct {
	rate, burst float64 // static

	mu    sync.Mutex
	spent map[netip.Addr]*spending // guarded by mu
}

// spending is what an address has left, at a time; below zero it has spent ahead.
type spending struct {
	left float64
	at   time.Time
}

// NewBudget makes one that fills by rate a second, up to burst.
func NewBudget(rate, burst float64) *Budget {
	return &Budget{rate: rate, burst: burst, spent: make(map[netip.Addr]*spending)}
}

// Spend takes n, and gives how long it is until there is something left again: 0 if there is.
func (b *Budget) Spend(addr netip.Addr, n float64, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.spent[addr]
	if s == nil {
		if len(b.spent) >= maxBudgets {
			b.forget(now)
		}
		s = &spending{b.burst, now}
		b.spent[addr] = s
	}
	s.left = min(b.burst, s.left+max(0, now.Sub(s.at).Seconds())*b.rate)
	s.at = now
	s.left = max(s.left-n, -b.burst)
	return time.Duration(max(0, -s.left/b.rate) * float64(time.Second))
}

// forget drops those that have all their budget again, and everybody if nobody has.
func (b *Budget) forget(now time.Time) {
	for addr, s := range b.spent {
		if s.left+now.Sub(s.at).Seconds()*b.rate >= b.burst {
			delete(b.spent, addr)
		}
	}
	if len(b.spent) >= maxBudgets {
		clear(b.spent)
	}
}

//go:build linux

package service

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// ownAddrsFor is how long the list of this machine's addresses is good: a pool asks for thousands of backends at once.
const ownAddrsFor = time.Second

// ownAddrs knows the addresses of this machine.
type ownAddrs struct {
	mu   sync.Mutex
	at   time.Time           // guarded by mu
	have map[netip.Addr]bool // guarded by mu
}

// has says that addr is this machine's. When its interfaces cannot be read, only loopback is.
func (o *ownAddrs) has(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	if addr.IsLoopback() {
		return true
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if now := time.Now(); o.have == nil || now.Sub(o.at) >= ownAddrsFor {
		o.at, o.have = now, make(map[netip.Addr]bool)
		all, _ := net.InterfaceAddrs() // without a list nothing is said of any address
		for _, one := range all {
			if network, ok := one.(*net.IPNet); ok {
				if a, ok := netip.AddrFromSlice(network.IP); ok {
					o.have[a.Unmap()] = true
				}
			}
		}
	}
	return o.have[addr]
}

// known says whether there is a list, so that what is not in it is a stranger.
func (o *ownAddrs) known() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.have) > 0
}

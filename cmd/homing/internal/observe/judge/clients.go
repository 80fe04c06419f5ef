package judge

import (
	"errors"
	"net/netip"

	"homing/balancer/affinity"
)

// clients is what is known of clients: address, server name and shape of hello, as homing's rule of clients knows them.
// Several behind one address that run the same program are one.
type clients struct {
	seen *affinity.Table // client -> how often, and whether it has offered
	done *affinity.Table // client -> when it last completed a handshake
	addr map[netip.Addr]struct{}
	Clients
}

// Clients counts clients.
type Clients struct {
	Seen      uint64 // clients with a handshake
	Returned  uint64 // of them, with a second
	Offering  uint64 // of these, that have offered a session at least once
	Without   uint64 // handshakes of clients that had been here before, and had offered nothing so far
	Addresses int    // addresses of clients, up to maxAddresses
}

const (
	maxAddresses = 256

	clientLife    = 24 * 60 * 60 // seconds
	clientOffered = 1 << 16      // in the place of a backend's ID
	clientCount   = clientOffered - 1
)

func (k *clients) init(entries int) (err error) {
	k.addr = make(map[netip.Addr]struct{})
	if k.seen, err = affinity.NewTable(entries); err == nil {
		k.done, err = affinity.NewTable(entries)
	}
	return err
}

func (k *clients) close() error { return errors.Join(k.seen.Close(), k.done.Close()) }

// hello notes a handshake of a client.
func (k *clients) hello(client affinity.Key, offered bool, now uint32) {
	if client == 0 {
		return
	}
	was, _, _ := k.seen.Lookup(client, now)
	n := was & clientCount
	is := min(n+1, clientCount) | was&clientOffered
	if offered {
		is |= clientOffered
	}
	switch n {
	case 0:
		k.Seen++
	case 1:
		k.Returned++
		if is&clientOffered != 0 {
			k.Offering++
		}
	default:
		if is&^was&clientOffered != 0 {
			k.Offering++
		}
	}
	if n > 0 && is&clientOffered == 0 {
		k.Without++
	}
	k.seen.Insert(client, is, now+clientLife, now)
}

// completed notes that a client has a fresh session.
func (k *clients) completed(client affinity.Key, now uint32) {
	if client != 0 {
		k.done.Insert(client, now, now+clientLife, now)
	}
}

// completedAt is when it last had; 0: that is not known.
func (k *clients) completedAt(client affinity.Key, now uint32) uint32 {
	if client == 0 {
		return 0
	}
	at, _, _ := k.done.Lookup(client, now)
	return at
}

// address notes where conns come from.
func (k *clients) address(a netip.Addr) {
	if len(k.addr) < maxAddresses {
		k.addr[a] = struct{}{}
		k.Addresses = len(k.addr)
	}
}

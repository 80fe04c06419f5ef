package diagnose

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"slices"
)

// nameBytes are the lengths of what is taken for the name of a ticket key, longest first. The first 16 bytes are the name,
// hold it or tell it apart in all that is built on OpenSSL, BoringSSL, GnuTLS, NSS, wolfSSL, s2n and in Schannel (4 zeros
// and a GUID); mbedTLS and JSSE have names of 4 bytes. Longer ones are not looked for: what follows a name is random, and
// of ten tickets two share its first byte by chance every sixth time.
func nameBytes() []int { return []int{16, 4} }

// noName is how Schannel's tickets begin, whatever their key is.
const noName = "00000000"

// statefulBytes is the longest TLS 1.3 identity that is only a name: 32 in OpenSSL, rustls and JSSE, 16 in Erlang. Nothing
// that holds a session is as short.
const statefulBytes = 32

// nameSize finds how long the names of keys are at the beginnings of tickets, 0 when there are none. A name is what two
// different tickets share, by the longest of the known lengths.
func nameSize(tickets [][]byte) int {
	for _, n := range nameBytes() {
		if len(named(tickets, n, 2)) > 0 {
			return n
		}
	}
	return 0
}

// named groups tickets by their first n bytes, and returns the groups of at least so many, largest first. The same ticket
// counts once.
func named(tickets [][]byte, n, least int) []Key {
	if n == 0 {
		return nil
	}
	tickets = slices.Clone(tickets)
	slices.SortFunc(tickets, bytes.Compare)
	tickets = slices.CompactFunc(tickets, bytes.Equal)
	groups := map[string]int{}
	for _, t := range tickets {
		if len(t) <= statefulBytes+n { // too short to hold a session behind a name
			continue
		}
		groups[hex.EncodeToString(t[:n])]++
	}
	var keys []Key
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		if groups[name] >= least && name != noName {
			keys = append(keys, Key{Name: name, Tickets: groups[name]})
		}
	}
	slices.SortStableFunc(keys, func(a, b Key) int { return cmp.Compare(b.Tickets, a.Tickets) })
	return keys
}

// sameKey reports whether a key is in both lists. Names of another length are of the same key when the one begins with the
// other.
func sameKey(a, b []Key) bool {
	for _, x := range a {
		for _, y := range b {
			n := min(len(x.Name), len(y.Name))
			if n > 0 && x.Name[:n] == y.Name[:n] {
				return true
			}
		}
	}
	return false
}

// schannelIDs reports whether session IDs, at least two, look like those of Schannel: 32 bytes that begin with the number of a slot
// in its cache, which has 20,000 by default, little endian.
func schannelIDs(ids [][]byte) bool {
	const slots = 20000
	for _, id := range ids {
		if len(id) != 32 || binary.LittleEndian.Uint32(id) >= slots {
			return false
		}
	}
	return len(ids) >= 2
}

package health

import (
	"cmp"
	"crypto/tls"
	"maps"
	"slices"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/pool"
)

// Findings is what the probe knows of one backend.
type Findings struct {
	Pool    *pool.Pool
	Backend *pool.Backend

	Last    time.Time // last probe
	Success time.Time // last probe in which a handshake succeeded, zero: never
	Err     string    // why the last probe was given up, "": it was not

	Handshakes map[Handshake]uint64
	KeyChanges uint64 // probes that found a new ticket key where one was known

	Names []Finding // in the order of the last probe, that of no name first
}

// Handshake is a kind of handshakes that are counted.
type Handshake struct {
	Version uint16 // negotiated, or the highest offered if none was
	Result  HandshakeResult
}

// HandshakeResult is what became of a handshake of the probe.
type HandshakeResult uint8

// The results.
const (
	HandshakeFull    HandshakeResult = iota // nothing was offered
	HandshakeResumed                        // the session offered was accepted
	HandshakeRefused                        // it was not
	HandshakeFailed                         // no handshake came about
)

// String is the word in metrics.
func (r HandshakeResult) String() string {
	return [...]string{"full", "resumed", "refused", "failed"}[r]
}

// Finding is what the probe knows of a backend under one server name.
type Finding struct {
	Name string // "": none sent
	Err  string // why no handshake succeeded, "": one did

	Versions []VersionFinding // that the backend speaks, the highest first
}

// VersionFinding is how a backend resumes sessions of one TLS version.
type VersionFinding struct {
	Version  uint16
	Err      string // what went wrong after the first handshake
	NeedCert bool   // no session without a client certificate: nothing can be learned

	Tickets  int           // different ones that the last probe got
	Resumed  bool          // one of them was accepted where it was issued
	Lifetime time.Duration // of the tickets, as the server says; TLS 1.3 only

	// Key is the ticket key of the newest ticket. Len 0: the tickets are nameless, or the name is not confirmed yet.
	Key affinity.KeyInfo

	newest affinity.Ident
}

// VersionName is the version in metrics and logs.
func VersionName(version uint16) string { return tls.VersionName(version) }

// Findings is what the probe knows of each backend, in the order of addresses.
func (p *Prober) Findings() (all []Findings) {
	now := p.cfg.Store.Now()
	for _, t := range p.list() {
		all = append(all, t.findings(now))
	}
	return all
}

// findings is a copy of what was found, with what affinity knows of the ticket keys now.
func (t *target) findings(now uint32) Findings {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.found
	f.Handshakes = maps.Clone(f.Handshakes)
	f.Names = slices.Clone(f.Names)
	for i := range f.Names {
		versions := slices.Clone(f.Names[i].Versions)
		for j := range versions {
			versions[j].Key, _ = t.known.TicketKey(versions[j].newest, uint32(t.backend.ID), now)
		}
		f.Names[i].Versions = versions
	}
	return f
}

// OldestKey is when the ticket key became known that has been in use for the longest time, false if none is known.
func (f *Findings) OldestKey() (since time.Time, ok bool) {
	var oldest uint32
	for _, name := range f.Names {
		for _, v := range name.Versions {
			if v.Key.Len > 0 && (!ok || v.Key.Since < oldest) {
				oldest, ok = v.Key.Since, true
			}
		}
	}
	return time.Unix(int64(oldest), 0), ok
}

// Worst is one finding per version that stands for all names: what does not work under one name, does not work.
func (f *Findings) Worst() []VersionFinding {
	worst := make(map[uint16]VersionFinding)
	for _, name := range f.Names {
		for _, v := range name.Versions {
			w, ok := worst[v.Version]
			if !ok {
				worst[v.Version] = v
				continue
			}
			w.Tickets = min(w.Tickets, v.Tickets)
			w.Resumed = w.Resumed && v.Resumed
			w.Lifetime = min(w.Lifetime, v.Lifetime)
			w.NeedCert = w.NeedCert || v.NeedCert
			w.Err = cmp.Or(w.Err, v.Err)
			if v.Key.Len < w.Key.Len {
				w.Key = v.Key
			}
			worst[v.Version] = w
		}
	}
	return slices.SortedFunc(maps.Values(worst), func(a, b VersionFinding) int { return cmp.Compare(b.Version, a.Version) })
}

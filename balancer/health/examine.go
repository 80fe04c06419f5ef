package health

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"slices"
	"time"

	"homing/balancer/affinity"
)

// roundTimeouts bounds one probe of a backend with all names, in timeouts of one handshake.
const roundTimeouts = 6

// round probes the backend once with each name and notes what it finds.
func (t *target) round(ctx context.Context) outcome {
	ctx, cancel := context.WithTimeout(ctx, roundTimeouts*t.prober.cfg.Timeout)
	defer cancel()
	var r report
	for _, name := range t.names() {
		e := examination{target: t, name: name, report: &r}
		f, err := e.run(ctx)
		if shortage(err) || errors.Is(ctx.Err(), context.Canceled) {
			return outcomeNone // nothing is known that was not before
		}
		if failed, ok := errors.AsType[*handshakeError](err); ok && failed.silent() {
			r.silence = failed
			break
		}
		r.names = append(r.names, f)
	}
	t.keep(r.samples)
	if r.silence == nil {
		r.lost = t.settle(ctx)
	}
	return t.note(&r)
}

// names is what to probe with.
func (t *target) names() []string {
	cfg := &t.prober.cfg
	names := append([]string{""}, cfg.Names...)
	for _, name := range t.pool.Names().Top(max(0, cfg.FromTraffic), time.Now()) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// report is what a round has found.
type report struct {
	names   []Finding
	silence *handshakeError  // the backend did not answer; names is not all
	unknown []affinity.Ident // tickets that may carry a name, and no known one
	samples []sample         // of each version and name the newest ticket that may carry one

	news    bool // a ticket key that was not known
	changed bool // and it takes the place of one that was
	lost    bool // a ticket key that it was thought to hold, and does not
}

// note keeps the report. Of the names that were not reached, what was found before stands.
func (t *target) note(r *report) outcome {
	works := slices.ContainsFunc(r.names, func(f Finding) bool { return f.Err == "" })
	t.mu.Lock()
	f := &t.found
	f.Last, f.Err = time.Now(), ""
	if r.silence != nil {
		f.Err = r.silence.Error()
		for _, old := range f.Names {
			if !slices.ContainsFunc(r.names, func(n Finding) bool { return n.Name == old.Name }) {
				r.names = append(r.names, old)
			}
		}
	}
	f.Names = r.names
	if works {
		f.Success = f.Last
	}
	if r.changed {
		f.KeyChanges++
	}
	t.mu.Unlock()
	if r.changed {
		t.log(slog.LevelInfo, "the backend has a new ticket key")
	}
	if r.silence == nil || r.silence.connected { // that it cannot be reached is the checks' to say
		t.warn()
	}
	switch {
	case r.news || r.lost:
		return outcomeNews
	case r.silence != nil || !works:
		return outcomeFailed
	}
	return outcomeSame
}

// examination is the probe of one backend with one name.
type examination struct {
	target *target
	name   string
	report *report
}

// run learns the tickets of each TLS version. An error says that no handshake succeeded; the finding has its text.
func (e *examination) run(ctx context.Context) (Finding, error) {
	f := Finding{Name: e.name}
	top, err := e.version(ctx, tls.VersionTLS13)
	if err != nil {
		f.Err = err.Error()
		return f, err
	}
	f.Versions = append(f.Versions, top)
	if top.Version < tls.VersionTLS13 {
		return f, nil
	}
	older, err := e.version(ctx, tls.VersionTLS12)
	if err == nil {
		f.Versions = append(f.Versions, older)
	} // else it speaks TLS 1.3 only
	return f, nil
}

// version learns the tickets that the backend issues for sessions of TLS most and below: those of a full handshake and
// of its resumption. Two different ones prove the name of the key; where that is not so, another full handshake brings
// one more, unless the name is known. An error says that the first handshake failed.
func (e *examination) version(ctx context.Context, most uint16) (VersionFinding, error) {
	full, err := e.target.shake(ctx, offer{name: e.name, most: most})
	if err != nil {
		if failed, ok := errors.AsType[*handshakeError](err); ok && failed.certAsked != 0 && failed.refused() {
			return VersionFinding{Version: failed.certAsked, NeedCert: true, Err: err.Error()}, nil
		}
		return VersionFinding{}, err
	}
	v := VersionFinding{Version: full.version}
	if full.certAsked != 0 && remoteAlert(full.after) {
		v.NeedCert, v.Err = true, describe(full.after)
		return v, nil
	}
	l := lesson{target: e.target, earlier: e.report.unknown}
	l.learn(full.sessions)
	if len(full.sessions) == 0 {
		if full.after != nil {
			v.Err = describe(full.after)
		}
		return v, nil
	}
	newest := full.sessions[len(full.sessions)-1]
	if v.Version >= tls.VersionTLS13 {
		v.Lifetime = lifetime(newest, e.target.lifetime)
		e.target.lifetime = v.Lifetime
	}
	again, err := e.target.shake(ctx, offer{name: e.name, most: most, session: newest})
	if err != nil {
		v.Err = err.Error()
	}
	v.Resumed = again.resumed
	l.learn(again.sessions)
	if !l.enough() && err == nil {
		if more, err := e.target.shake(ctx, offer{name: e.name, most: most}); err == nil {
			l.learn(more.sessions)
		}
	}
	v.Tickets, v.newest = len(l.seen), l.newest
	if v.newest.Prefix != [affinity.NumLengths]affinity.Key{} {
		e.report.samples = append(e.report.samples, sample{
			ident: l.newest, session: l.session, version: v.Version, offer: offer{name: e.name, most: most},
		})
	}
	e.report.unknown = append(e.report.unknown, l.unknown...)
	if l.nameLen() > 4 {
		e.report.news = true
		e.report.changed = e.report.changed || e.target.hadKey(e.name, v.Version)
	}
	return v, nil
}

// shake makes one handshake and counts it.
func (t *target) shake(ctx context.Context, o offer) (answer, error) {
	free := t.prober.takeSlot(ctx)
	defer free()
	ctx, cancel := context.WithTimeout(ctx, t.prober.cfg.Timeout)
	defer cancel()
	o.header = t.pool.Snapshot().Options().ProxyHeader
	ans, err := t.prober.handshake(ctx, t.backend.Addr, o)
	h := Handshake{Version: ans.version}
	switch {
	case err != nil:
		h = Handshake{Version: o.most, Result: HandshakeFailed}
	case ans.resumed:
		h.Result = HandshakeResumed
	case o.session != nil:
		h.Result = HandshakeRefused
	}
	if !shortage(err) {
		t.mu.Lock()
		t.found.Handshakes[h]++
		t.mu.Unlock()
	}
	return ans, err
}

// hadKey says whether the last probe met a confirmed ticket key.
func (t *target) hadKey(name string, version uint16) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, f := range t.found.Names {
		for _, v := range f.Versions {
			if f.Name == name && v.Version == version {
				_, ok := t.known.TicketKey(v.newest, uint32(t.backend.ID), t.prober.cfg.Store.Now())
				return ok
			}
		}
	}
	return false
}

// lesson is the tickets of one version and name.
type lesson struct {
	target  *target
	earlier []affinity.Ident // unknown ones of other versions and names: affinity may not have weighed them yet
	seen    []affinity.Ident // different ones
	unknown []affinity.Ident // of them, those that may carry a name, and no known one
	newest  affinity.Ident
	session *tls.ClientSessionState // that of newest
}

// learn teaches affinity the tickets of some sessions.
func (l *lesson) learn(sessions []*tls.ClientSessionState) {
	known, id, now := l.target.known, uint32(l.target.backend.ID), l.target.prober.cfg.Store.Now()
	for _, s := range sessions {
		ticket, _, err := s.ResumptionState()
		if err != nil || len(ticket) == 0 {
			continue // crypto/tls gives no session without one
		}
		ident := known.HashIdent(ticket)
		if slices.ContainsFunc(l.seen, func(other affinity.Ident) bool { return other.Exact == ident.Exact }) {
			continue // a TLS 1.2 server that resumes may leave the old ticket in place
		}
		l.seen = append(l.seen, ident)
		l.newest, l.session = ident, s
		if _, ok := known.TicketKey(ident, id, now); !ok && ident.Prefix != [affinity.NumLengths]affinity.Key{} {
			l.unknown = append(l.unknown, ident)
		}
		known.Probed(ident, id, now)
	}
}

// enough says whether another ticket would teach nothing: all carry names that are known, or none at all, or two prove
// a name of usual length. Once in 256 times two tickets agree in a byte more than the name has; a third tells.
func (l *lesson) enough() bool {
	n := l.nameLen()
	return n <= 16 && (n > 4 || len(l.unknown) != 1)
}

// nameLen is the length of the longest beginning that an unknown ticket shares with another, in bytes, 0 for none. Up
// to four it is too weak a proof; formats have constants of that length.
func (l *lesson) nameLen() (longest int) {
	others := slices.Clone(l.earlier)
	for _, a := range l.unknown {
		for _, b := range others {
			for length, prefix := range a.Prefix {
				if prefix != 0 && prefix == b.Prefix[length] {
					longest = max(longest, affinity.PrefixLen(length))
				}
			}
		}
		others = append(others, a)
	}
	return longest
}

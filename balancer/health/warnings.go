package health

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

// warning is one thing that is wrong with a backend, under whatever names.
type warning struct {
	kind    warningKind
	version uint16 // 0: all
	why     string
}

type warningKind uint8

const (
	warnNoHandshake warningKind = iota
	warnNeedCert
	warnBroken
	warnNoTickets
	warnNotResumed
	warnOldKey
)

func (k warningKind) String() string {
	return [...]string{
		"no handshake succeeds",
		"the backend wants a client certificate, so nothing can be learned of its tickets",
		"a handshake after the first fails",
		"the backend sends no tickets",
		"the backend does not resume its own session",
		"ticket key in use for long",
	}[k]
}

// warn logs each warning that did not stand after the last probe, and each that stands no longer: once.
func (t *target) warn() {
	f := t.findings(t.prober.cfg.Store.Now())
	standing := t.warnings(&f)
	for _, w := range sorted(standing) {
		if _, stood := t.warned[w]; !stood {
			text := w.kind.String()
			if since, ok := f.OldestKey(); ok && w.kind == warnOldKey {
				text = fmt.Sprintf("ticket key in use for %s: forward secrecy ends with it", age(time.Since(since)))
			}
			t.logWarning(slog.LevelWarn, text, w, standing[w])
		}
	}
	for _, w := range sorted(t.warned) {
		if _, stands := standing[w]; !stands {
			t.logWarning(slog.LevelInfo, "no longer: "+w.kind.String(), w, t.warned[w])
		}
	}
	t.warned = standing
}

// warnings is all that is wrong, with the names under which it shows.
func (t *target) warnings(f *Findings) map[warning][]string {
	standing := make(map[warning][]string)
	add := func(kind warningKind, version uint16, why string, names ...string) {
		w := warning{kind, version, why}
		standing[w] = append(standing[w], names...)
	}
	if f.Err != "" {
		add(warnNoHandshake, 0, f.Err)
	}
	works := slices.ContainsFunc(f.Names, func(n Finding) bool { return n.Err == "" })
	for _, n := range f.Names {
		name := cmp.Or(n.Name, "(none)")
		if n.Err != "" && (n.Name != "" || !works) { // many a server refuses hellos without a name, and means it
			add(warnNoHandshake, 0, n.Err, name)
		}
		for _, v := range n.Versions {
			switch {
			case v.NeedCert:
				add(warnNeedCert, v.Version, v.Err, name)
			case v.Err != "":
				add(warnBroken, v.Version, v.Err, name)
			case v.Tickets == 0:
				add(warnNoTickets, v.Version, "", name)
			case !v.Resumed:
				add(warnNotResumed, v.Version, "", name)
			}
		}
	}
	if since, ok := f.OldestKey(); ok && time.Since(since) >= t.prober.cfg.KeyAge {
		add(warnOldKey, 0, "")
	}
	return standing
}

func (t *target) logWarning(level slog.Level, text string, w warning, names []string) {
	var attrs []slog.Attr
	if w.version != 0 {
		attrs = append(attrs, slog.String("version", VersionName(w.version)))
	}
	if w.why != "" {
		attrs = append(attrs, slog.String("why", w.why))
	}
	if len(names) > 0 {
		attrs = append(attrs, slog.String("names", strings.Join(names, " ")))
	}
	t.log(level, text, attrs...)
}

// log logs one line about the backend.
func (t *target) log(level slog.Level, text string, attrs ...slog.Attr) {
	about := []slog.Attr{slog.String("pool", t.pool.Name()), slog.String("backend", t.backend.Addr.String())}
	t.prober.cfg.Log.LogAttrs(context.Background(), level, "probe: "+text, append(about, attrs...)...)
}

// age words a long time for people.
func age(d time.Duration) string {
	const day = 24 * time.Hour
	if d >= 2*day {
		return fmt.Sprintf("%d days", d/day)
	}
	return d.Round(time.Second).String()
}

func sorted(warnings map[warning][]string) []warning {
	return slices.SortedFunc(maps.Keys(warnings), func(a, b warning) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(b.version, a.version), cmp.Compare(a.why, b.why))
	})
}

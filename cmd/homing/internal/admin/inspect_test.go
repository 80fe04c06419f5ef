package admin

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"homing/balancer/affinity"
	"homing/balancer/pool"
	"homing/cmd/homing/internal/api"
)

func TestLookup(t *testing.T) {
	src := source(t) // a session of each backend, and a ticket key of both; the second backend is down
	s := serverOf(t, src)
	p := src.Pools()[0]
	key := keyName(src.Store.Pool(p.Hash()).HeldKeys(uint32(time.Now().Unix()))[0].Key)
	lookup := func(identifier, kind string) []api.Match {
		t.Helper()
		var out api.Lookup
		ask(t, s, http.MethodPost, "/v1/lookup", api.LookupRequest{Identifier: identifier, Kind: kind}, &out)
		for i := range out.Matches {
			if m := &out.Matches[i]; !m.Expires.IsZero() {
				if left := time.Until(m.Expires); left < 9*time.Hour || left > 10*time.Hour {
					t.Errorf("it expires in %s", left)
				}
				m.Expires = time.Time{}
			}
		}
		return out.Matches
	}
	colons := strings.ToUpper(strings.TrimSuffix(strings.ReplaceAll(fmt.Sprintf("% x", sessionID(0)), " ", ":"), ":"))
	none := []string{}
	home := api.Match{Pool: "default", Kind: "id", Rule: "session", Homes: []string{first}, Backend: first}
	for _, tt := range []struct {
		sentence, identifier, kind string
		want                       []api.Match
	}{
		{"a session ID in hex", hex.EncodeToString(sessionID(0)), "id", []api.Match{home}},
		{"as openssl prints it", colons, "id", []api.Match{home}},
		{"in base64", base64.StdEncoding.EncodeToString(sessionID(0)), "id", []api.Match{home}},
		{"without padding, for URLs", base64.RawURLEncoding.EncodeToString(sessionID(0)), "id", []api.Match{home}},
		{"whatever it may be", hex.EncodeToString(sessionID(0)), "", []api.Match{{Pool: "default", Kind: "ticket", Rule: "explore", Homes: none, Backend: first}, home}},
		{"its home is down", hex.EncodeToString(sessionID(1)), "id", []api.Match{{Pool: "default", Kind: "id", Rule: "session", Homes: []string{second}, Why: "backend_down"}}},
		{"nobody's", "00", "id", []api.Match{{Pool: "default", Kind: "id", Rule: "fresh", Homes: none}}},
		{"a ticket under a key that both hold", hex.EncodeToString(ticketOf("K", 77)), "psk", []api.Match{{
			Pool: "default", Kind: "ticket", Rule: "ticket_key", Homes: []string{first, second}, Backend: first, Key: key, Length: 16,
		}}},
	} {
		got := lookup(tt.identifier, tt.kind)
		if tt.kind == "" { // the ID first, as the rules do
			got[0], got[1] = got[1], got[0]
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.sentence, diff)
		}
	}
	stray := ticketOf("unknown", 5)
	if got := lookup(hex.EncodeToString(stray), "ticket")[0]; got.Rule != "explore" || got.Backend != first {
		t.Errorf("an unknown ticket: %+v", got)
	}
	known := src.Store.Pool(p.Hash())
	var offer affinity.Offer
	offer.Add(known.HashIdent(stray))
	known.Refused(&offer, affinity.SourceExplore, uint32(at(p, first).ID), src.Store.Now())
	if got := lookup(hex.EncodeToString(stray), "ticket")[0]; got.Rule != "explore" || got.Backend != "" {
		t.Errorf("that the only live backend has refused: %+v", got)
	}
	p.SetDraining(at(p, first), pool.DrainHard)
	if got := lookup(hex.EncodeToString(sessionID(0)), "id")[0]; got.Backend != "" || got.Why != "drained" {
		t.Errorf("drained hard: %+v", got)
	}
	for _, request := range []api.LookupRequest{
		{Identifier: ""},
		{Identifier: "not an identifier!"},
		{Identifier: "00", Kind: "cookie"},
		{Identifier: strings.Repeat("00", 33), Kind: "id"},
		{Identifier: strings.Repeat("00", 1<<16)},
	} {
		if status, text := ask(t, s, http.MethodPost, "/v1/lookup", request, nil); status != http.StatusBadRequest {
			t.Errorf("%.40v: %d %s", request, status, text)
		}
	}
	if status, text := ask(t, s, http.MethodPost, "/v1/lookup", api.LookupRequest{Identifier: "00", Pool: "nowhere"}, nil); status != http.StatusNotFound {
		t.Errorf("%d %s", status, text)
	}
}

// TestLookupKeepsNothing: no answer, no event and no line of the log repeats an identifier, right or wrong.
func TestLookupKeepsNothing(t *testing.T) {
	var log bytes.Buffer
	src := source(t)
	src.Events = NewEvents()
	handler := slog.NewMultiHandler(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}), src.Events)
	s, err := New(api.Access{Address: api.Address{Network: "unix"}}, src, slog.New(handler))
	if err != nil {
		t.Fatal(err)
	}
	secret := hex.EncodeToString(sessionID(0))
	for _, body := range []any{
		api.LookupRequest{Identifier: secret},
		api.LookupRequest{Identifier: secret + "zz"},
		api.LookupRequest{Identifier: secret, Kind: "x"},
		`{"identifier":"` + secret + `","kind":3}`, `{"` + secret, `{"identifier":"` + secret, `"` + secret + `"`,
	} {
		_, text := ask(t, s, http.MethodPost, "/v1/lookup", body, nil)
		_, events := ask(t, s, http.MethodGet, "/v1/events", nil, nil)
		if strings.Contains(text+events+log.String(), secret[:16]) {
			t.Errorf("%v is told of: %s %s %s", body, text, events, &log)
		}
	}
}

func TestTicketKeys(t *testing.T) {
	src := source(t)
	s := serverOf(t, src)
	var out api.TicketKeys
	ask(t, s, http.MethodGet, "/v1/ticket-keys", nil, &out)
	if len(out.TicketKeys) != 1 {
		t.Fatalf("%+v", out)
	}
	key := out.TicketKeys[0]
	if key.Pool != "default" || key.Length != 16 || !key.Shared || key.Doubtful || len(key.Key) != 16 || key.Age > 20 || key.Used > 20 {
		t.Errorf("%+v", key)
	}
	for i, want := range []string{first, second} {
		if home := key.Backends[i]; home.Address != want || home.Count == 0 || time.Since(home.Since) > time.Minute || time.Since(home.Last) > time.Minute {
			t.Errorf("%+v, want %s", home, want)
		}
	}
	if err := src.Pools()[0].Set([]pool.Spec{{Addr: first}}); err != nil {
		t.Fatal(err)
	}
	ask(t, s, http.MethodGet, "/v1/ticket-keys?pool=default", nil, &out)
	if got := out.TicketKeys[0].Backends[1].Address; !strings.HasPrefix(got, "gone (") {
		t.Errorf("a backend that left the pool: %s", got)
	}
	if status, _ := ask(t, s, http.MethodGet, "/v1/ticket-keys?pool=x", nil, nil); status != http.StatusNotFound {
		t.Errorf("another pool's: %d", status)
	}
}

// TestKnown: how much leads to a backend is counted when somebody asks, and not before.
func TestKnown(t *testing.T) {
	src := source(t)
	s := serverOf(t, src)
	s.keeper.countWanted(t.Context())
	if s.keeper.census.Load() != nil {
		t.Error("counted for nobody")
	}
	var out api.Backends
	ask(t, s, http.MethodGet, "/v1/backends", nil, &out)
	if out.Backends[0].Known != nil {
		t.Errorf("known before it was counted: %+v", out.Backends[0].Known)
	}
	s.keeper.countWanted(t.Context())
	ask(t, s, http.MethodGet, "/v1/backends", nil, &out)
	for _, b := range out.Backends {
		k := b.Known
		if k == nil || k.Sessions != 1 || k.Clients != 1 || k.TicketKeys != 1 || time.Since(k.At) > time.Minute {
			t.Errorf("%s: %+v", b.Address, k)
		}
	}
	last := s.keeper.census.Load()
	s.keeper.countWanted(t.Context())
	if s.keeper.census.Load() != last {
		t.Error("counted twice at once")
	}

	// A drain that began after the count may still have sessions.
	p := src.Pools()[0]
	p.SetDraining(at(p, second), pool.DrainSoft)
	if err := p.Set([]pool.Spec{{Addr: second}, {Addr: "192.0.2.50:443"}}); err != nil {
		t.Fatal(err)
	}
	p.SetDraining(at(p, "192.0.2.50:443"), pool.DrainSoft) // nothing leads there
	states := func() map[string]string {
		got := map[string]string{}
		ask(t, s, http.MethodGet, "/v1/backends", nil, &out)
		for _, b := range out.Backends {
			got[b.Address] = b.State
		}
		return got
	}
	if diff := cmp.Diff(map[string]string{second: "draining", "192.0.2.50:443": "draining"}, states()); diff != "" {
		t.Errorf("before the next count (-want +got):\n%s", diff)
	}
	last.at = last.at.Add(-time.Hour)
	s.keeper.countWanted(t.Context())
	if diff := cmp.Diff(map[string]string{second: "draining", "192.0.2.50:443": "drained"}, states()); diff != "" {
		t.Errorf("after it (-want +got):\n%s", diff)
	}
}

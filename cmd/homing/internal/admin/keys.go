package admin

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/pool"
	"homing/cmd/homing/internal/api"
)

// heldBy is a ticket key and one of its homes.
type heldBy struct {
	pool uint32
	key  affinity.Key
	id   uint32
}

// keysToldOf bounds the events of one look: a resync may bring thousands of keys at once.
const keysToldOf = 8

// seeKeys makes an event of each ticket key that was not there at the last look.
func (k *keeper) seeKeys() {
	before := k.keys
	k.keys = make(map[heldBy]bool)
	fresh := 0
	for _, p := range k.src.Pools() {
		for _, held := range k.src.Store.Pool(p.Hash()).HeldKeys(k.src.Store.Now()) {
			for _, home := range held.Homes {
				one := heldBy{p.Hash(), held.Key, home.ID}
				k.keys[one] = true
				if before == nil || before[one] {
					continue
				}
				if fresh++; fresh <= keysToldOf {
					k.src.Events.Note(slog.LevelInfo, "ticket key learned", slog.String("pool", p.Name()),
						slog.String("backend", backendName(p, home.ID)),
						slog.String("key", keyName(held.Key)), slog.Int("bytes", held.Len),
						slog.Bool("shared", len(held.Homes) > 1))
				}
			}
		}
	}
	if fresh > keysToldOf {
		k.src.Events.Note(slog.LevelInfo, "ticket keys learned", slog.Int("more", fresh-keysToldOf))
	}
}

func keyName(k affinity.Key) string { return fmt.Sprintf("%016x", uint64(k)) }

// backendName is the address of a backend, or its ID when it has left the pool.
func backendName(p *pool.Pool, id uint32) string {
	if b := p.Snapshot().ByID(pool.ID(id)); b != nil {
		return b.Addr.String()
	}
	return fmt.Sprintf("gone (%08x)", id)
}

func (s *Server) ticketKeys(r *http.Request) (api.TicketKeys, error) {
	pools, err := s.poolsNamed(r.FormValue("pool"))
	out := api.TicketKeys{TicketKeys: []api.TicketKey{}}
	if err != nil {
		return out, err
	}
	now := time.Now()
	for _, p := range pools {
		for _, held := range s.src.Store.Pool(p.Hash()).HeldKeys(s.src.Store.Now()) {
			out.TicketKeys = append(out.TicketKeys, viewKey(p, &held, now))
		}
	}
	return out, nil
}

func viewKey(p *pool.Pool, held *affinity.HeldKey, now time.Time) api.TicketKey {
	view := api.TicketKey{
		Pool: p.Name(), Key: keyName(held.Key), Length: held.Len, Shared: len(held.Homes) > 1, Doubtful: held.Doubtful,
		Backends: []api.TicketKeyHome{},
	}
	var since, last uint32
	for _, h := range held.Homes {
		since, last = cmp.Or(min(cmp.Or(since, h.Since), h.Since), h.Since), max(last, h.Last)
		view.Backends = append(view.Backends, api.TicketKeyHome{
			Address: backendName(p, h.ID), Since: time.Unix(int64(h.Since), 0).UTC(),
			Last: time.Unix(int64(h.Last), 0).UTC(), Count: h.Count, Refused: uint64(h.Refused), Doubtful: h.Doubtful,
		})
	}
	view.Age, view.Used = ago(now, since), ago(now, last)
	return view
}

// ago is the seconds since a time, 0 if it lies ahead: clocks of nodes differ.
func ago(now time.Time, unix uint32) float64 { return float64(max(0, now.Unix()-int64(unix))) }

// poolsNamed is the pool of a name, or all for "".
func (s *Server) poolsNamed(name string) ([]*pool.Pool, error) {
	pools := s.src.Pools()
	if name == "" {
		return pools, nil
	}
	if i := slices.IndexFunc(pools, func(p *pool.Pool) bool { return p.Name() == name }); i >= 0 {
		return pools[i : i+1], nil
	}
	var names []string
	for _, p := range pools {
		names = append(names, p.Name())
	}
	return nil, refusef(http.StatusNotFound, "there is no pool %.100q, only %q", name, names)
}

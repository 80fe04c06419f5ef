package judge

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"

	"homing/balancer/affinity"
	"homing/cmd/homing/internal/observe/flow"
	"homing/tlsparse"
)

// Config bounds a Judge. The zero value of each field means its default.
type Config struct {
	// Backends and VIPs are what cannot be guessed: addresses of servers behind the balancer, and of the balancer. An
	// address in neither is judged by what it does.
	Backends, VIPs []Endpoint

	// Seed of all hashes; 0 = random. Findings do not depend on it, but for collisions.
	Seed uint64

	// Sessions is how many session IDs, tickets and identities are known at a time, at 27 bytes each when all are, and
	// Clients how many clients, at 54. The defaults are homing's: affinity.DefaultTableEntries and DefaultClientEntries.
	Sessions, Clients int

	// MaxServices, MaxNames and MaxRows bound the addresses, the server names, and their combinations with versions and
	// kinds of offers that are counted apart. What comes beyond is counted as Others.
	MaxServices, MaxNames, MaxRows int
}

// The defaults.
const (
	DefaultMaxServices = 256
	DefaultMaxNames    = 512
	DefaultMaxRows     = 4096
)

// Others is the name of what came when there was no more room to count apart.
const Others = "(others)"

// Judge is a flow.Handler. It is not for several goroutines at once.
type Judge struct {
	// Static after New.
	cfg   Config
	store *affinity.Store

	clock
	pool     *affinity.Pool // of all servers but those that are found to be a balancer's address
	front    *affinity.Pool // of these
	pools    uint32         // made so far
	services map[netip.AddrPort]*service
	order    []*service // in the order of their IDs, which begin at 1
	rest     *service   // all beyond MaxServices
	links    links
	pairs    pairs
	names    map[string]string
	rows     map[rowKey]*row
	later    later
	certs    map[certificateKey]*certificates
	births   *affinity.Table // session ID or ticket -> when it was issued
	roots    *affinity.Table // likewise -> when what the client would have in its place with homing was, if earlier
	kept     [affinity.NumOfferKinds]kept
	keys     keyUses
	clients  clients
	hellos   Hellos
	conns    Conns
}

// clock is capture time.
type clock struct {
	now      uint32 // Unix seconds: what affinity takes
	first    time.Time
	last     time.Time
	observed time.Duration // what passed, without long gaps
	back     uint64        // how often time went back
}

const (
	// longGap is the longest gap in the capture that counts as time that was observed: between two files hours may lie.
	longGap = time.Hour
	// backSlack is how far time may go back without being set back: captures of several queues are not quite in order.
	backSlack = time.Minute
)

// set makes t the time. It stands still where t is a little earlier.
func (k *clock) set(t time.Time) {
	switch d := t.Sub(k.last); {
	case k.first.IsZero():
		k.first = t
	case d < -backSlack:
		k.back++
	case d < 0:
		return
	case d <= longGap:
		k.observed += d
	}
	k.last = t
	k.now = uint32(min(max(t.Unix(), 1), math.MaxUint32-lastSeconds))
}

// lastSeconds keeps the end of what is remembered within 32 bits.
const lastSeconds = 400 * 24 * 60 * 60

// New makes a Judge; Free gives its memory back.
func New(cfg Config) (*Judge, error) {
	cfg.MaxServices = cmp.Or(cfg.MaxServices, DefaultMaxServices)
	cfg.MaxNames = cmp.Or(cfg.MaxNames, DefaultMaxNames)
	cfg.MaxRows = cmp.Or(cfg.MaxRows, DefaultMaxRows)
	store, err := affinity.NewStore(affinity.Config{Seed: cfg.Seed, TableEntries: cfg.Sessions, ClientEntries: cfg.Clients})
	if err != nil {
		return nil, fmt.Errorf("make the tables: %w", err)
	}
	j := &Judge{
		cfg: cfg, store: store, services: make(map[netip.AddrPort]*service), names: make(map[string]string),
		rows: make(map[rowKey]*row), certs: make(map[certificateKey]*certificates), rest: &service{},
	}
	j.pool, j.front = j.newPool(), j.newPool()
	births := min(cmp.Or(cfg.Sessions, birthEntries), birthEntries)
	if j.births, err = affinity.NewTable(births); err == nil {
		j.roots, err = affinity.NewTable(births)
	}
	if err == nil {
		err = j.clients.init(cmp.Or(cfg.Clients, affinity.DefaultClientEntries))
	}
	if err != nil {
		return nil, fmt.Errorf("make the tables: %w", err)
	}
	return j, nil
}

// Free gives the memory back. The Judge is of no use any more.
func (j *Judge) Free() error {
	return errors.Join(j.store.Close(), j.births.Close(), j.roots.Close(), j.clients.close())
}

func (j *Judge) newPool() *affinity.Pool {
	j.pools++
	return j.store.Pool(j.pools)
}

// tick makes the time of c that of the tables.
func (j *Judge) tick(c *flow.Conn) {
	j.set(c.Now)
	j.store.Step(j.now)
}

// Pass says what time it is in the capture, between calls too: it goes on where there is no TLS.
func (j *Judge) Pass(now time.Time) {
	if !now.IsZero() {
		j.set(now)
	}
}

// Open implements flow.Handler.
func (j *Judge) Open(c *flow.Conn) {
	j.set(c.Now)
	j.conns.Opened++
}

// NotTLS implements flow.Handler.
func (j *Judge) NotTLS(_ *flow.Conn, status tlsparse.Status) {
	if status == tlsparse.Opaque {
		j.conns.Opaque++
	} else {
		j.conns.Invalid++
	}
}

// Close implements flow.Handler.
func (j *Judge) Close(c *flow.Conn, why flow.End) {
	st, ok := c.Data.(*conn)
	switch {
	case !c.Settled && unseen(why):
		j.conns.unjudged(why)
		if ok && st.offered() && st.verdict == VerdictNone {
			j.conns.UnjudgedOffers++
		}
	case !ok:
		if c.Hellos == 0 {
			j.conns.Silent++
		}
	case st.verdict == VerdictNone && !st.full:
		j.verdict(c, st, VerdictUnknown, 0)
		j.conns.Unanswered++
	}
	if ok {
		j.finish(c, st)
	}
}

// unseen reports whether a conn that ended so may have gone on behind our back.
func unseen(why flow.End) bool {
	switch why {
	case flow.EndUnseen, flow.EndGap, flow.EndCut, flow.EndConflict, flow.EndMemory, flow.EndCapture, flow.EndReplaced:
		return true
	case flow.EndFIN, flow.EndReset, flow.EndIdle:
	}
	return false
}

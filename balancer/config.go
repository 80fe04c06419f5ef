//go:build linux

package balancer

import (
	"fmt"
	"log/slog"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/pool"
	"homing/tlsparse"
)

// TLSMode says what a listener expects of its clients.
type TLSMode uint8

// The modes.
const (
	// TLSAuto reads a hello; what is none goes to the pool as fresh.
	TLSAuto TLSMode = iota
	// TLSRequire closes and counts what is no readable ClientHello.
	TLSRequire
	// TLSOff reads nothing: the backend is connected at once, and may speak first.
	TLSOff
)

func (m TLSMode) String() string { return [...]string{"auto", "require", "off"}[m] }

// ParseTLSMode reads what String writes.
func ParseTLSMode(text string) (TLSMode, error) {
	for m := TLSAuto; m <= TLSOff; m++ {
		if m.String() == text {
			return m, nil
		}
	}
	return 0, fmt.Errorf("balancer: unknown TLS mode %q, use auto, require or off", text)
}

// Listener is one address to take connections on.
type Listener struct {
	Addr string     // host:port, an IP address or empty for all of both families
	Pool *pool.Pool // serves it
	TLS  TLSMode
}

// SecondChance bounds the replays that rest on an answer of a backend
// (DESIGN.md section 3.4 b and c).
type SecondChance struct {
	// Auto lets an offer that a guessed backend refused go to another one.
	Auto bool
	// Tries bounds those other backends per conn. Default 1, at most 8.
	Tries int
	// Budget is the share of new conns that may be replayed, 0 to 1. Default
	// 0.05. It covers rule (b) too, which is always on.
	Budget float64
}

// Config of a Balancer. The zero value of a field means its default.
type Config struct {
	Listeners []Listener
	Loops     int             // threads that move bytes. Default 1
	Engine    Engine          // what they stand on. Default EngineAuto
	Store     *affinity.Store // what is known; required
	Policy    pool.Policy     // for fresh handshakes

	HelloTimeout      time.Duration // from accept to the whole hello. Default 10 s
	ConnectTimeout    time.Duration // all tries together; one try has a third of it. Default 6 s
	IdleTimeout       time.Duration // without a byte in either direction. Default 10 min
	HalfClosedTimeout time.Duration // without a byte after one side's FIN. Default 60 s
	HoldTimeout       time.Duration // from the hello's sending to the verdict. Default 1 s
	KeepAlive         time.Duration // idle time before TCP keepalive probes, both sides. Default 60 s, negative: off
	UserTimeout       time.Duration // unacknowledged data, both sides (TCP_USER_TIMEOUT). Default 30 s, negative: the kernel's

	HelloLimit   int   // bytes of a ClientHello. Default 16 KiB, at most 64 KiB
	HoldLimit    int   // bytes of a server's answer held for the verdict. Default 16 KiB
	MaxConns     int   // open conns of this node. Default 0: no limit but descriptors
	BufferMemory int64 // bytes for partial hellos, held flights and unsent rests. Default 256 MiB

	SecondChance SecondChance
	ECH          bool // the backends hold ECH keys: such hellos create no knowledge

	Log     *slog.Logger      // default: none
	ConnLog func(*ConnRecord) // called once per ended conn, on one goroutine. Default: off
}

// setDefaults fills in defaults and refuses what cannot be meant.
func (c *Config) setDefaults() error {
	if len(c.Listeners) == 0 {
		return fmt.Errorf("balancer: no listener")
	}
	if c.Store == nil {
		return fmt.Errorf("balancer: no affinity store")
	}
	for _, l := range c.Listeners {
		if l.Pool == nil {
			return fmt.Errorf("balancer: listener %s has no pool", l.Addr)
		}
	}
	c.Loops = or(c.Loops, 1)
	c.HelloTimeout = or(c.HelloTimeout, 10*time.Second)
	c.ConnectTimeout = or(c.ConnectTimeout, 6*time.Second)
	c.IdleTimeout = or(c.IdleTimeout, 10*time.Minute)
	c.HalfClosedTimeout = or(c.HalfClosedTimeout, time.Minute)
	c.HoldTimeout = or(c.HoldTimeout, time.Second)
	c.KeepAlive = max(or(c.KeepAlive, time.Minute), 0)
	c.UserTimeout = max(or(c.UserTimeout, 30*time.Second), 0)
	c.HelloLimit = or(c.HelloLimit, tlsparse.DefaultHelloLimit)
	c.HoldLimit = or(c.HoldLimit, 16<<10)
	c.BufferMemory = or(c.BufferMemory, 256<<20)
	c.SecondChance.Tries = or(c.SecondChance.Tries, 1)
	c.SecondChance.Budget = or(c.SecondChance.Budget, 0.05)
	if c.HelloLimit > tlsparse.MaxHelloLimit {
		return fmt.Errorf("balancer: hello limit of %d bytes, the highest is %d", c.HelloLimit, tlsparse.MaxHelloLimit)
	}
	if c.SecondChance.Tries > maxTries-1 {
		return fmt.Errorf("balancer: %d second-chance tries, the highest is %d", c.SecondChance.Tries, maxTries-1)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// or is v, or the default where v is the zero value.
func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

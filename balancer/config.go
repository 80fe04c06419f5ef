//go:build linux

package balancer

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/internal/netio"
	"homing/tlsparse"
)

// Config of a Balancer. The zero value of a field means its default. What is of one pool is in pool.Options.
type Config struct {
	Listeners []Listener
	Loops     int             // threads that move bytes. Default 1
	Engine    Engine          // what they stand on. Default EngineAuto
	Store     *affinity.Store // what is known; required

	// Import is sockets that listen already, from a process that ran before or from whoever starts this one: used
	// before anything is bound. See ExportedSocket.
	Import []ExportedSocket

	// Their defaults are named DefaultHelloTimeout and so on.
	HelloTimeout      time.Duration // from accept to the whole hello
	ConnectTimeout    time.Duration // all tries together; one try has a third of it
	HandshakeTimeout  time.Duration // of TLS, from the hello's sending to the client's Finished. Off: only IdleTimeout
	IdleTimeout       time.Duration // without a byte in either direction
	HalfClosedTimeout time.Duration // without a byte after one side's FIN
	HoldTimeout       time.Duration // from the hello's sending to the verdict
	KeepAlive         time.Duration // idle time before TCP keepalive probes, both sides. Off: none
	UserTimeout       time.Duration // unacknowledged data, both sides (TCP_USER_TIMEOUT). Off: the kernel's

	HelloLimit   int   // bytes of a ClientHello that is read whole, at most tlsparse.MaxHelloLimit, which is the default
	HoldLimit    int   // bytes of a server's answer held for the verdict. Default DefaultHoldLimit
	MaxConns     int   // open conns of this node. Default 0: no limit but descriptors
	BufferMemory int64 // bytes for partial hellos, held flights and unsent rests. Default 256 MiB or MemoryLimit/4

	// MaxPreHello bounds, of the open conns, those without a whole hello; the oldest give way. Default half of MaxConns.
	// Off: no limit.
	MaxPreHello int

	// MemoryLimit is the bytes of this process that conns may take, buffers included; see memory.go. At least 1 MiB.
	// Default 0: no limit but BufferMemory.
	MemoryLimit int64

	Clients ClientLimits // of each network of clients

	// Log must not wait for its reader: others may be locked out meanwhile, though never a loop. Default: none.
	Log     *slog.Logger
	ConnLog func(*ConnRecord) // called once per ended conn, on one goroutine. Default: off
}

// What a Config has that does not say otherwise.
const (
	DefaultHelloTimeout      = 10 * time.Second
	DefaultConnectTimeout    = 6 * time.Second
	DefaultHandshakeTimeout  = time.Minute
	DefaultIdleTimeout       = 10 * time.Minute
	DefaultHalfClosedTimeout = time.Minute
	DefaultHoldTimeout       = time.Second
	DefaultKeepAlive         = time.Minute
	DefaultUserTimeout       = 30 * time.Second

	DefaultHoldLimit    = 16 << 10  // bytes
	defaultBufferMemory = 256 << 20 // bytes
)

// Off is without what a field of Config bounds or does by default, where the field says so.
const Off = -1

// setDefaults fills in defaults and refuses what cannot be meant.
func (c *Config) setDefaults() error {
	if len(c.Listeners) == 0 {
		return fmt.Errorf("balancer: no listener")
	}
	if c.Store == nil {
		return fmt.Errorf("balancer: no affinity store")
	}
	c.Loops = cmp.Or(c.Loops, 1)
	c.HelloTimeout = cmp.Or(c.HelloTimeout, DefaultHelloTimeout)
	c.ConnectTimeout = cmp.Or(c.ConnectTimeout, DefaultConnectTimeout)
	c.HandshakeTimeout = max(cmp.Or(c.HandshakeTimeout, DefaultHandshakeTimeout), 0)
	c.IdleTimeout = cmp.Or(c.IdleTimeout, DefaultIdleTimeout)
	c.HalfClosedTimeout = cmp.Or(c.HalfClosedTimeout, DefaultHalfClosedTimeout)
	c.HoldTimeout = cmp.Or(c.HoldTimeout, DefaultHoldTimeout)
	c.KeepAlive = max(cmp.Or(c.KeepAlive, DefaultKeepAlive), 0)
	c.UserTimeout = max(cmp.Or(c.UserTimeout, DefaultUserTimeout), 0)
	c.HelloLimit = cmp.Or(c.HelloLimit, tlsparse.DefaultHelloLimit)
	c.HoldLimit = cmp.Or(c.HoldLimit, DefaultHoldLimit)
	if c.MaxPreHello == 0 {
		if c.MaxPreHello = (c.MaxConns + 1) / 2; c.MaxConns == 0 {
			c.MaxPreHello = Off
		}
	}
	if err := c.setMemory(); err != nil {
		return err
	}
	if c.HelloLimit > tlsparse.MaxHelloLimit {
		return fmt.Errorf("balancer: hello limit of %d bytes, the highest is %d", c.HelloLimit, tlsparse.MaxHelloLimit)
	}
	if err := c.Clients.check(); err != nil {
		return err
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return nil
}

// limits are what Stats may be compared with.
func (c *Config) limits() Limits {
	l := Limits{
		MaxConns: c.MaxConns, MaxPreHello: max(c.MaxPreHello, 0), Clients: c.Clients,
		BufferMemory: c.BufferMemory,
	}
	if c.MemoryLimit > 0 {
		l.ConnMemory = c.connMemory()
	}
	return l
}

// Engine is the kernel's interface that the loops stand on.
type Engine = netio.Kind

// The engines.
const (
	// EngineAuto is io_uring where the kernel has it and lets it be used, epoll elsewhere.
	EngineAuto  = netio.KindAuto
	EngineUring = netio.KindUring
	EngineEpoll = netio.KindEpoll
)

// CheckTransparent says in one line why pools cannot be transparent in this process; nil: they can, as far as the
// process goes. The routing of the answers is another matter.
func CheckTransparent() error { return netio.CanBeForeign() }

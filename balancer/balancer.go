//go:build linux

package balancer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"

	"homing/balancer/internal/netio"
)

// Balancer relays the connections of its listeners. New binds, Run moves bytes,
// Shutdown ends in order.
type Balancer struct {
	// Static after New.
	cfg     Config
	engine  netio.Choice
	loops   []*loop
	addrs   []netip.AddrPort
	records chan *ConnRecord // nil without a conn log

	stop sync.Once
	done chan struct{} // closed when Run has returned
}

// ListenError says why an address could not be listened on.
type ListenError struct {
	Addr string
	Err  error
}

func (e *ListenError) Error() string { return fmt.Sprintf("cannot listen on %s: %v", e.Addr, e.Err) }

// Unwrap returns the system's error, a netio.Errno, which is syscall.Errno, in most cases.
func (e *ListenError) Unwrap() error { return e.Err }

// New checks the configuration and binds every listener, or none. A failure to
// bind is a *ListenError.
func New(cfg Config) (*Balancer, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	b := &Balancer{cfg: cfg, done: make(chan struct{})}
	if cfg.ConnLog != nil {
		b.records = make(chan *ConnRecord, recordQueue)
	}
	if err := b.open(); err != nil {
		for _, l := range b.loops {
			l.shut()
		}
		return nil, err
	}
	return b, nil
}

// open makes the loops and their listeners.
func (b *Balancer) open() error {
	if err := b.chooseEngine(); err != nil {
		return err
	}
	for i := range b.cfg.Loops {
		l, err := newLoop(b, i)
		if err != nil {
			return err
		}
		b.loops = append(b.loops, l)
	}
	for i, ln := range b.cfg.Listeners {
		addr, err := ParseListenAddr(ln.Addr)
		if err != nil {
			return &ListenError{Addr: ln.Addr, Err: err}
		}
		bound, err := b.bind(i, addr)
		if err != nil {
			return &ListenError{Addr: ln.Addr, Err: err}
		}
		b.addrs = append(b.addrs, bound)
	}
	return nil
}

// bind opens the listener's sockets: one a loop, among which the kernel spreads
// connections (SO_REUSEPORT).
func (b *Balancer) bind(i int, addr netip.AddrPort) (netip.AddrPort, error) {
	share := len(b.loops) > 1
	if share {
		// A shared address would be shared with another homing too, so an
		// exclusive socket asks first whether somebody is there.
		fd, err := netio.ListenTCP(addr, false)
		if err != nil {
			return addr, err
		}
		addr, err = netio.LocalAddr(fd) // port 0: the same for every loop
		if err := errors.Join(err, netio.CloseListener(fd)); err != nil {
			return addr, err
		}
	}
	for _, l := range b.loops {
		fd, err := netio.ListenTCP(addr, share)
		if err != nil {
			return addr, err
		}
		l.listeners = append(l.listeners, &listener{Listener: b.cfg.Listeners[i], fd: fd})
		if addr, err = netio.LocalAddr(fd); err != nil {
			return addr, err
		}
	}
	return addr, nil
}

// ParseListenAddr reads host:port, where the host is an IP address, in brackets
// for IPv6, or empty for all addresses of both families.
func ParseListenAddr(text string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("want host:port, such as 0.0.0.0:443 or [::]:443")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is not a port, want 0 to 65535", port)
	}
	addr := netip.IPv6Unspecified()
	if host != "" {
		if addr, err = netip.ParseAddr(host); err != nil {
			return netip.AddrPort{}, fmt.Errorf("%q is not an IP address", host)
		}
	}
	return netip.AddrPortFrom(addr, uint16(n)), nil
}

// Addrs are the addresses listened on, in the order of the configuration.
func (b *Balancer) Addrs() []netip.AddrPort { return b.addrs }

// Run moves bytes until Shutdown has ended all conns, or until ctx is done,
// which resets those still open. It may be called once.
func (b *Balancer) Run(ctx context.Context) error {
	defer close(b.done)
	var logging, running sync.WaitGroup
	if b.records != nil {
		logging.Go(func() { runRecords(b.records, b.cfg.ConnLog) })
	}
	errs := make([]error, len(b.loops))
	for i, l := range b.loops {
		running.Go(func() { errs[i] = l.run() })
	}
	unwatch := context.AfterFunc(ctx, func() { b.post(command{kind: commandKill}) })
	running.Wait()
	unwatch()
	if b.records != nil {
		close(b.records)
		logging.Wait()
	}
	return errors.Join(errs...)
}

// Shutdown stops taking connections, lets the open ones finish until ctx is
// done, resets the rest, and waits for Run to return. It returns ctx's error if
// conns had to be reset.
func (b *Balancer) Shutdown(ctx context.Context) error {
	b.stop.Do(func() { b.post(command{kind: commandDrain}) })
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
	}
	b.post(command{kind: commandKill})
	<-b.done
	return ctx.Err()
}

// Stats sums up what the loops have counted.
func (b *Balancer) Stats() Stats {
	var s Stats
	for _, l := range b.loops {
		l.count.addTo(&s)
		s.BufferBytes += uint64(l.buffers.Used())
	}
	return s
}

// post hands a command to every loop.
func (b *Balancer) post(c command) {
	for _, l := range b.loops {
		l.post(c)
	}
}

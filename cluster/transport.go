package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"homing/cluster/bound"
)

const (
	// gossipBuffer is the room for packets that wait in the kernel, in bytes: memberlist's own. The kernel may give
	// less.
	gossipBuffer = 2 << 20

	// largestPacket is the most that UDP carries.
	largestPacket = 64 << 10

	// bindTries: with port 0 the kernel finds a TCP port, and the UDP port of that number may be taken.
	bindTries = 10

	// streamPlaces bounds the streams that are served at once, of strangers and of members each, and streamsPerAddr
	// those of one address: a genuine one takes milliseconds.
	streamPlaces   = 256
	streamsPerAddr = 32

	// What one address may send, a second and at once: packets (a member of a cluster of hundreds sends a hundred), and
	// bytes by stream (all state of a thousand members is 250 kB, and comes every 30 s, every 2 s at first). Packets
	// beyond are lost, streams beyond are read later. To take in what is said of 1,000 members costs 4 ms.
	packetRate, packetBurst = 2000, 8000
	streamRate, streamBurst = 256 << 10, 4 << 20

	// What all strangers together may send by stream: memberlist holds it in memory before it knows whether they have a
	// key.
	strangerRate, strangerBurst = 8 << 20, 32 << 20

	// metFor is for how long an address is known to be somebody's who has come to us, and maxMet bounds those.
	metFor = time.Minute
	maxMet = 4096

	// listenPause is the pause after an error of a socket, most likely for want of files or memory.
	listenPause = 10 * time.Millisecond
)

// transport carries gossip over a UDP and a TCP socket, as memberlist's own does. Other than that one it can take over
// the sockets of an older process, and hears nothing before listen: two processes of one node that read from one socket
// would take each other's answers.
type transport struct {
	// Static after construction.
	tcp     *net.TCPListener
	udp     *net.UDPConn
	log     *slog.Logger
	packets chan *memberlist.Packet // never closed
	streams chan net.Conn           // never closed
	ended   chan struct{}           // closed by Shutdown
	door    *bound.Door
	bytes   *bound.Budget // by stream
	alien   *bound.Budget // by stream, of all strangers together
	count   *bound.Budget // of packets

	mu    sync.Mutex
	comer bound.Recent[netip.Addr] // guarded by mu: whose address it is, since somebody came from it by stream

	listening sync.WaitGroup
	start     sync.Once
	end       sync.Once
}

// newTransport binds the address.
func newTransport(bind netip.AddrPort, log *slog.Logger) (*transport, error) {
	tries := 1
	if bind.Port() == 0 {
		tries = bindTries
	}
	var err error
	for range tries {
		var tcp *net.TCPListener
		if tcp, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(bind)); err != nil {
			return nil, err
		}
		var udp *net.UDPConn
		port := bound.AddrOf(tcp.Addr()).Port()
		if udp, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(bind.Addr(), port))); err != nil {
			tcp.Close()
			continue
		}
		return transportOver(tcp, udp, log), nil
	}
	return nil, err
}

// transportOver takes sockets that are bound. They are its own from now on.
func transportOver(tcp *net.TCPListener, udp *net.UDPConn, log *slog.Logger) *transport {
	for size := gossipBuffer; size > 0 && udp.SetReadBuffer(size) != nil; size /= 2 {
	}
	return &transport{
		tcp: tcp, udp: udp, log: log,
		door:  &bound.Door{Places: streamPlaces, PerAddr: streamsPerAddr},
		bytes: bound.NewBudget(streamRate, streamBurst), alien: bound.NewBudget(strangerRate, strangerBurst),
		count:   bound.NewBudget(packetRate, packetBurst),
		comer:   bound.Recent[netip.Addr]{Max: maxMet},
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), ended: make(chan struct{}),
	}
}

// listen begins to hear. It may be called more than once.
func (t *transport) listen() {
	t.start.Do(func() {
		t.listening.Go(t.receive)
		t.listening.Go(t.accept)
	})
}

// receive hands on packets until Shutdown.
func (t *transport) receive() {
	buf := make([]byte, largestPacket)
	for {
		n, from, err := t.udp.ReadFrom(buf)
		now := time.Now()
		if err != nil {
			if t.over(err, "receive gossip") {
				return
			}
			continue
		}
		if n == 0 || t.count.Spend(bound.AddrOf(from).Addr(), 1, now) > 0 {
			continue
		}
		select {
		case t.packets <- &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: now}:
		case <-t.ended:
			return
		}
	}
}

// accept hands on connections until Shutdown.
func (t *transport) accept() {
	for {
		conn, err := t.tcp.Accept()
		if err != nil {
			if t.over(err, "accept gossip") {
				return
			}
			continue
		}
		t.comes(bound.AddrOf(conn.RemoteAddr()).Addr())
		select {
		case t.streams <- &stinted{t.door.Enter(conn), t}:
		case <-t.ended:
			conn.Close()
			return
		}
	}
}

// over waits a moment after an error of a socket, and says whether that was the end.
func (t *transport) over(err error, what string) bool {
	if errors.Is(err, net.ErrClosed) {
		return true
	}
	t.log.Debug(what, slog.Any("error", err))
	timer := time.NewTimer(listenPause)
	defer timer.Stop()
	select {
	case <-t.ended:
		return true
	case <-timer.C:
		return false
	}
}

// comes notes that somebody came from an address: a TCP connection shows that it is theirs.
func (t *transport) comes(addr netip.Addr) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.comer.Note(addr, now.Add(metFor), now) // if there is no room, it is asked in its turn
}

// met says that somebody has come to us from an address lately.
func (t *transport) met(addr netip.Addr) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.comer.Has(addr, time.Now())
}

// stinted is a stream that is read as fast as its address may send.
type stinted struct {
	*bound.Guest
	of *transport
}

// Read implements net.Conn.
func (s *stinted) Read(b []byte) (int, error) {
	n, err := s.Guest.Read(b)
	if n > 0 {
		now := time.Now()
		wait := s.of.bytes.Spend(s.Addr, float64(n), now)
		if !s.Known {
			wait = max(wait, s.of.alien.Spend(netip.Addr{}, float64(n), now))
		}
		if wait > 0 {
			timer := time.NewTimer(min(wait, time.Second)) // memberlist's deadline bounds the stream
			<-timer.C
		}
	}
	return n, err
}

// FinalAdvertiseAddr implements memberlist.Transport.
func (t *transport) FinalAdvertiseAddr(ip string, port int) (net.IP, int, error) {
	addr := bound.AddrOf(t.tcp.Addr())
	if ip != "" {
		given, err := netip.ParseAddr(ip)
		if err != nil {
			return nil, 0, fmt.Errorf("advertise: %w", err)
		}
		addr = netip.AddrPortFrom(given, uint16(port))
	}
	return addr.Addr().Unmap().AsSlice(), int(addr.Port()), nil
}

// WriteTo implements memberlist.Transport.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return time.Time{}, err
	}
	_, err = t.udp.WriteTo(b, to)
	return time.Now(), err
}

// WriteToAddress implements memberlist.NodeAwareTransport.
func (t *transport) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, addr.Addr)
}

// PacketCh implements memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// DialTimeout implements memberlist.Transport.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout, LocalAddr: t.from(addr)}
	return d.Dial("tcp", addr)
}

// from is the address to dial from: the one that we are known by, where it can reach the other.
func (t *transport) from(to string) net.Addr {
	own := bound.AddrOf(t.tcp.Addr()).Addr()
	other, err := netip.ParseAddrPort(to)
	if err != nil || own.IsUnspecified() || own.Is4() != other.Addr().Unmap().Is4() ||
		own.IsLoopback() != other.Addr().IsLoopback() {
		return nil // the system's choice
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(own, 0))
}

// DialAddressTimeout implements memberlist.NodeAwareTransport.
func (t *transport) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(addr.Addr, timeout)
}

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown implements memberlist.Transport: this process's hold on the sockets ends. What another has of them stays.
func (t *transport) Shutdown() (err error) {
	t.end.Do(func() {
		close(t.ended)
		err = errors.Join(t.tcp.Close(), t.udp.Close())
		t.start.Do(func() {}) // listen comes too late
		t.listening.Wait()
	})
	return err
}

// GossipSockets are the two sockets of gossip, bound to one address.
type GossipSockets struct {
	TCP *net.TCPListener
	UDP *net.UDPConn
}

func (s *GossipSockets) close() error {
	if s == nil {
		return nil
	}
	return errors.Join(s.TCP.Close(), s.UDP.Close())
}

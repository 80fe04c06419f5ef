//go:build linux

package netio

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must come: it bounds a hang and
// measures nothing.
const patience = 10 * time.Second

// forever is a deadline that does not come.
const forever = Time(1<<63 - 1)

// opener makes the engine under test.
type opener func(limit int64) (Engine, error)

// rig drives an engine as a loop does, on the test's goroutine, and checks at
// the end of the test that nothing is left of it.
type rig struct {
	Engine
	t     testing.TB
	ended []Completion // handed out by Next, not yet asked for
	socks map[Sock]bool
	last  Completion // of drive
	door  *door      // of accepted; nil before
}

func newRig(t testing.TB, open opener) *rig { return newRigLimit(t, open, 1<<20) }

func newRigLimit(t testing.TB, open opener, limit int64) *rig {
	t.Helper()
	e, err := open(limit)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{Engine: e, t: t, socks: map[Sock]bool{}}
	t.Cleanup(func() {
		r.check()
		r.Shut()
	})
	return r
}

// check closes what is open and reports what is left behind.
func (r *rig) check() {
	r.t.Helper()
	for _, c := range r.ended {
		r.t.Errorf("completion that nobody asked for: %+v", c)
	}
	for s := range r.socks {
		r.Close(s, true)
	}
	if n := r.Buffers().Used(); n != 0 {
		r.t.Errorf("%d bytes of buffers lost", n)
	}
	if s := r.Stats(); s.Socks != 0 || s.Pipes != s.IdlePipes {
		r.t.Errorf("left open: %+v", s)
	}
}

// Close forgets s too.
func (r *rig) Close(s Sock, reset bool) {
	delete(r.socks, s)
	r.Engine.Close(s, reset)
}

// Connect remembers the socket too.
func (r *rig) Connect(addr netip.AddrPort, tag uint32) (Sock, syscall.Errno) {
	s, errno := r.Engine.Connect(addr, tag)
	if errno == 0 {
		r.socks[s] = true
	}
	return s, errno
}

// turn is one batch: Wait, at most until deadline, and all of Next.
func (r *rig) turn(deadline Time) int {
	r.t.Helper()
	if err := r.Wait(deadline); err != nil {
		r.t.Fatal(err)
	}
	n := 0
	for c := (Completion{}); r.Next(&c); n++ {
		r.keep(c)
	}
	return n
}

// keep puts a completion aside with a copy of what is lent.
func (r *rig) keep(c Completion) {
	c.Buf = bytes.Clone(c.Buf)
	if c.Op == OpAccept && c.Errno == 0 {
		r.socks[c.Sock] = true
	}
	r.ended = append(r.ended, c)
}

// take waits for the completion of op on s; NoSock stands for any.
func (r *rig) take(op Op, s Sock) Completion {
	r.t.Helper()
	for start := time.Now(); time.Since(start) < patience; r.turn(r.Now().Add(patience / 10)) {
		for i, c := range r.ended {
			if c.Op == op && (c.Sock == s || s == NoSock) {
				r.ended = slices.Delete(r.ended, i, i+1)
				return c
			}
		}
	}
	r.t.Fatalf("no completion of op %d on socket %d; there are: %+v", op, s, r.ended)
	return Completion{}
}

// until takes turns until cond holds.
func (r *rig) until(what string, cond func() bool) {
	r.t.Helper()
	for start := time.Now(); !cond(); r.turn(r.Now().Add(time.Millisecond)) {
		if time.Since(start) > patience {
			r.t.Fatalf("waited in vain for: %s; completions: %+v", what, r.ended)
		}
	}
}

// settle takes turns until nothing more ends by itself.
func (r *rig) settle() {
	r.t.Helper()
	for range 3 {
		r.Wake()
		r.take(OpWake, NoSock)
	}
}

// quiet settles and fails if anything but what was asked for has ended.
func (r *rig) quiet(why string) {
	r.t.Helper()
	r.settle()
	if len(r.ended) > 0 {
		r.t.Fatalf("%s, yet there is %+v", why, r.ended)
	}
}

func (r *rig) recv(s Sock) Completion {
	r.t.Helper()
	r.Recv(s)
	return r.take(OpRecv, s)
}

// recvAll reads to the end and returns how that came: 0 for FIN.
func (r *rig) recvAll(s Sock) (all []byte, end syscall.Errno) {
	r.t.Helper()
	for {
		c := r.recv(s)
		if c.N == 0 {
			return all, c.Errno
		}
		all = append(all, c.Buf...)
	}
}

func (r *rig) send(s Sock, b []byte) {
	r.t.Helper()
	done, errno := r.Send(s, b)
	if errno == 0 && !done {
		errno = r.take(OpSend, s).Errno
	}
	if errno != 0 {
		r.t.Fatalf("send of %d bytes: %v", len(b), errno)
	}
}

func (r *rig) splice(from, to Sock) Completion {
	r.t.Helper()
	r.Splice(from, to)
	return r.take(OpSplice, from)
}

// option is a socket option of type int.
type option struct{ level, name, value int }

// small makes a connection that holds a few kilobytes only; the segment size
// keeps the tiny window from being silly.
var small = []option{
	{unix.SOL_SOCKET, unix.SO_SNDBUF, 8 << 10},
	{unix.SOL_SOCKET, unix.SO_RCVBUF, 8 << 10},
	{unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1024},
}

// door is a listening socket of the engine's.
type door struct {
	fd   int
	addr netip.AddrPort
}

// listen opens a door and begins to take connections from it. Options are
// inherited by them.
func (r *rig) listen(addr string, tag uint32, options ...option) *door {
	r.t.Helper()
	fd, err := ListenTCP(netip.MustParseAddrPort(addr), false)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := CloseListener(fd); err != nil {
			r.t.Error(err)
		}
	})
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o.level, o.name, o.value); err != nil {
			r.t.Fatal(err)
		}
	}
	bound, err := LocalAddr(fd)
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.Listen(fd, tag); err != nil {
		r.t.Fatal(err)
	}
	return &door{fd: fd, addr: bound}
}

// accepted returns a socket of the engine's, taken from a listener, and its peer.
func (r *rig) accepted() (Sock, *net.TCPConn) {
	r.t.Helper()
	if r.door == nil {
		r.door = r.listen("127.0.0.1:0", 0)
	}
	return r.through(r.door)
}

// acceptedSmall is accepted with a connection that holds little.
func (r *rig) acceptedSmall() (Sock, *net.TCPConn) {
	r.t.Helper()
	return r.through(r.listen("127.0.0.1:0", 0, small...), small...)
}

func (r *rig) through(d *door, options ...option) (Sock, *net.TCPConn) {
	r.t.Helper()
	peer := dial(r.t, d.addr, options...)
	c := r.take(OpAccept, NoSock)
	if c.Errno != 0 || c.Peer != addrOf(peer.LocalAddr()) {
		r.t.Fatalf("accepted %+v, want peer %v", c, peer.LocalAddr())
	}
	return c.Sock, peer
}

// connected returns a socket of the engine's, opened by Connect, and its peer.
func (r *rig) connected() (Sock, *net.TCPConn) {
	r.t.Helper()
	l := listenPlain(r.t)
	s, errno := r.Connect(addrOf(l.Addr()), 0)
	if errno != 0 {
		r.t.Fatal(errno)
	}
	if c := r.take(OpConnect, s); c.Errno != 0 {
		r.t.Fatalf("connect: %v", c.Errno)
	}
	hurry(r.t, l)
	return s, acceptPlain(r.t, l)
}

// hurry sends the ACK to l that would wait 200 ms for a first Send to ride on.
func hurry(t testing.TB, l *net.TCPListener) {
	t.Helper()
	if err := unix.SetsockoptInt(descriptorOf(t, l.Addr()), unix.IPPROTO_TCP, unix.TCP_QUICKACK, 2); err != nil {
		t.Fatal(err)
	}
}

func listenPlain(t testing.TB) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a test may have closed it
	return l
}

func acceptPlain(t testing.TB, l *net.TCPListener) *net.TCPConn {
	t.Helper()
	_ = l.SetDeadline(time.Now().Add(patience)) // an open listener
	conn, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	return bound(t, conn)
}

func dial(t testing.TB, addr netip.AddrPort, options ...option) *net.TCPConn {
	t.Helper()
	d := net.Dialer{Timeout: patience, Control: func(_, _ string, raw syscall.RawConn) error {
		var errs []error
		err := raw.Control(func(fd uintptr) {
			for _, o := range options {
				errs = append(errs, unix.SetsockoptInt(int(fd), o.level, o.name, o.value))
			}
		})
		return errors.Join(append(errs, err)...)
	}}
	conn, err := d.Dial("tcp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return bound(t, conn.(*net.TCPConn))
}

// bound gives every call on conn a deadline, and closes it with the test.
func bound(t testing.TB, conn *net.TCPConn) *net.TCPConn {
	_ = conn.SetDeadline(time.Now().Add(2 * patience)) // an open conn
	t.Cleanup(func() { _ = conn.Close() })             // a test may have closed it
	return conn
}

func addrOf(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

func write(t testing.TB, conn *net.TCPConn, b []byte) {
	t.Helper()
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, conn *net.TCPConn, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if got, err := io.ReadFull(conn, b); err != nil {
		t.Fatalf("read %d of %d bytes: %v", got, n, err)
	}
	return b
}

// wantEnd reads conn's end: nil for FIN, or an errno.
func wantEnd(t testing.TB, conn *net.TCPConn, want error) {
	t.Helper()
	if want == nil {
		want = io.EOF
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, want) {
		t.Fatalf("peer reads %d bytes, %v; want %v", n, err, want)
	}
}

// abort closes conn with RST.
func abort(t testing.TB, conn *net.TCPConn) {
	t.Helper()
	if err := errors.Join(conn.SetLinger(0), conn.Close()); err != nil {
		t.Fatal(err)
	}
}

func closeWrite(t testing.TB, conn *net.TCPConn) {
	t.Helper()
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// noise is a stream of bytes that two sides can make alike.
func noise(seed byte) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{seed}) }

func noiseBytes(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = noise(seed).Read(b) // never fails
	return b
}

// feed writes total bytes of noise in chunks of random sizes, then FIN. It runs
// on a goroutine of its own.
func feed(conn *net.TCPConn, seed byte, total, chunk int) error {
	src, size := noise(seed), rand.New(rand.NewPCG(1, uint64(seed)))
	for buf := make([]byte, chunk); total > 0; {
		b := buf[:min(total, 1+size.IntN(chunk))]
		_, _ = src.Read(b) // never fails
		n, err := conn.Write(b)
		if err != nil {
			return err
		}
		total -= n
	}
	return conn.CloseWrite()
}

// drink reads to FIN in chunks of random sizes and compares with feed's bytes.
func drink(conn *net.TCPConn, seed byte, total, chunk int) error {
	src, size := noise(seed), rand.New(rand.NewPCG(2, uint64(seed)))
	got := 0
	for buf, want := make([]byte, chunk), make([]byte, chunk); ; {
		n, err := conn.Read(buf[:1+size.IntN(chunk)])
		_, _ = src.Read(want[:n]) // never fails
		if !bytes.Equal(buf[:n], want[:n]) {
			return errors.New("other bytes than were sent, within " + strconv.Itoa(n) + " after " + strconv.Itoa(got))
		}
		got += n
		switch {
		case errors.Is(err, io.EOF) && got == total:
			return nil
		case err != nil:
			return errors.Join(err, errors.New("after "+strconv.Itoa(got)+" of "+strconv.Itoa(total)+" bytes"))
		}
	}
}

// descriptors lists the process's open descriptors.
func descriptors(t testing.TB) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		// The one that reads the directory has no target any more.
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil {
			all = append(all, e.Name()+" "+to)
		}
	}
	return all
}

// descriptorOf finds the descriptor of the engine's socket that is connected to
// peer.
func descriptorOf(t testing.TB, peer net.Addr) int {
	t.Helper()
	for _, d := range descriptors(t) {
		var fd int
		for i := 0; i < len(d) && d[i] >= '0' && d[i] <= '9'; i++ {
			fd = fd*10 + int(d[i]-'0')
		}
		sa, err := unix.Getpeername(fd)
		if err != nil {
			continue
		}
		if in, ok := sa.(*unix.SockaddrInet4); ok && netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port)) == addrOf(peer) {
			return fd
		}
	}
	t.Fatal("the engine's socket has no descriptor")
	return -1
}

// noDescriptors makes every call that opens a descriptor fail with EMFILE until
// the returned function is called. It speaks for the whole process.
func noDescriptors(t testing.TB) (undo func()) {
	t.Helper()
	lowest, err := unix.Dup(1)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(lowest) // ours
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(lowest), Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
	}
}

//go:build linux

package netio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homing/balancer/netaddr"
)

// socketDir is a directory whose paths are short enough for sockets.
func socketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "netio")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func listenUnixPlain(t testing.TB, path string) *net.UnixListener {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a test may have closed it
	return l
}

func boundUnix(t testing.TB, conn *net.UnixConn, err error) *net.UnixConn {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(2 * patience)) // an open conn
	t.Cleanup(func() { _ = conn.Close() })             // a test may have closed it
	return conn
}

// connectUnix begins a Connect.
func (r *rig) connectUnix(path string, tag uint32) (Sock, syscall.Errno) {
	s, given, errno := r.Engine.Connect(Source{}, netaddr.Unix(path), hello, tag)
	if given {
		r.t.Error("what was to be sent was taken along")
	}
	if errno == 0 {
		r.socks[s] = true
	}
	return s, errno
}

// connectedUnix returns a unix socket of the engine's, opened by Connect, and its peer.
func (r *rig) connectedUnix() (Sock, *net.UnixConn) {
	r.t.Helper()
	l := listenUnixPlain(r.t, filepath.Join(socketDir(r.t), "s"))
	s, errno := r.connectUnix(l.Addr().String(), 41)
	if errno != 0 {
		r.t.Fatal(errno)
	}
	if c := r.take(OpConnect, s); c.Errno != 0 || c.Tag != 41 {
		r.t.Fatalf("connect: %+v", c)
	}
	conn, err := l.AcceptUnix()
	return s, boundUnix(r.t, conn, err)
}

// acceptedUnix returns a unix socket of the engine's, taken from a listener, and its peer.
func (r *rig) acceptedUnix() (Sock, *net.UnixConn) {
	r.t.Helper()
	path := filepath.Join(socketDir(r.t), "s")
	fd, file, err := ListenUnix(path, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := errors.Join(CloseListener(fd), file.Remove()); err != nil {
			r.t.Error(err)
		}
	})
	if err := r.Listen(fd, 7, false); err != nil {
		r.t.Fatal(err)
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	peer := boundUnix(r.t, conn, err)
	c := r.take(OpAccept, NoSock)
	if c.Errno != 0 || c.Tag != 7 || c.Peer.IsValid() || r.Local(c.Sock).IsValid() {
		r.t.Fatalf("accepted %+v at %v, want no address", c, r.Local(c.Sock))
	}
	return c.Sock, peer
}

// Either kind of unix socket does all that one of TCP does.
func testUnix(t *testing.T, open opener) {
	for name, made := range map[string]func(*rig) (Sock, *net.UnixConn){"connected": (*rig).connectedUnix, "accepted": (*rig).acceptedUnix} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, open)
			s, peer := made(r)
			r.send(s, []byte("ping"))
			got := make([]byte, 4)
			if _, err := io.ReadFull(peer, got); err != nil || string(got) != "ping" {
				t.Errorf("the peer reads %q, %v", got, err)
			}
			r.Ack(s)
			r.Persist(s, Options{KeepAlive: time.Minute, UserTimeout: time.Minute})
			r.Recv(s)
			r.quiet("nothing was sent")
			if _, err := peer.Write([]byte("pong")); err != nil {
				t.Fatal(err)
			}
			if c := r.take(OpRecv, s); string(c.Buf) != "pong" {
				t.Errorf("got %q, %v", c.Buf, c.Errno)
			}
			r.quiet("all is read")
			if r.HasInput(s) {
				t.Error("there is input after all was read")
			}
			if err := peer.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if all, end := r.recvAll(s); len(all) != 0 || end != 0 {
				t.Errorf("the end comes as %q, %v", all, end)
			}
			r.send(s, []byte("last"))
			r.Shutdown(s)
			if got, err := io.ReadAll(peer); string(got) != "last" || err != nil {
				t.Errorf("behind the peer's own end comes %q, %v", got, err)
			}
		})
	}
}

// What waits in an engine's send is sent on as the peer reads, which Acked shows.
func testUnixSendRest(t *testing.T, open opener) {
	r := newRig(t, open)
	s, peer := r.connectedUnix()
	all := noiseBytes(3, 600<<10)
	done, errno := r.Send(s, all)
	if done || errno != 0 {
		t.Fatalf("600 KiB were taken at once: %v, %v", done, errno)
	}
	acked := r.Acked(s)
	if r.Unsent(s) == 0 {
		t.Error("nothing is unsent while the peer reads nothing")
	}
	got := make([]byte, 300<<10)
	ends := make(chan error, 1)
	go func() { _, err := io.ReadFull(peer, got); ends <- err }()
	for reading := true; reading; {
		select {
		case err := <-ends:
			if reading = false; err != nil {
				t.Fatal(err)
			}
		default:
			r.turn(r.Now().Add(time.Millisecond))
		}
	}
	r.until("that Acked has grown", func() bool { return r.Acked(s) != acked })
	go func() {
		rest, err := io.ReadAll(peer)
		got = append(got, rest...)
		ends <- err
	}()
	if c := r.take(OpSend, s); c.Errno != 0 {
		t.Fatal(c.Errno)
	}
	r.Shutdown(s)
	if err := <-ends; err != nil || !bytes.Equal(got, all) {
		t.Errorf("the peer got %d of %d bytes, %v", len(got), len(all), err)
	}
	if n := r.Unsent(s); n != 0 {
		t.Errorf("%d bytes are unsent after all was read", n)
	}
}

// A peer that closes with something unread tells ECONNRESET, behind what it had sent; one that
// has read all ends in order. The engine's Close does the same, whatever reset says.
func testUnixReset(t *testing.T, open opener) {
	r := newRig(t, open)
	s, peer := r.connectedUnix()
	r.send(s, []byte("unread"))
	if _, err := peer.Write([]byte("before")); err != nil {
		t.Fatal(err)
	}
	if err := peer.Close(); err != nil {
		t.Fatal(err)
	}
	if all, end := r.recvAll(s); string(all) != "before" || end != unix.ECONNRESET {
		t.Errorf("got %q and %v, want ECONNRESET", all, end)
	}
	if c := r.recv(s); c.Errno != unix.ECONNRESET {
		t.Errorf("a further Recv: %v, want ECONNRESET again", c.Errno)
	}
	if _, errno := r.Send(s, []byte("x")); errno == 0 {
		t.Error("sent to a socket that is closed")
	}
	if n := r.Unsent(s); n != 0 {
		t.Errorf("%d bytes unsent to a socket that is closed", n)
	}
	for _, row := range []struct {
		unread bool
		want   error
	}{{false, io.EOF}, {true, unix.ECONNRESET}} {
		s, peer := r.acceptedUnix()
		r.send(s, []byte("sent"))
		if row.unread {
			if _, err := peer.Write([]byte("unread")); err != nil {
				t.Fatal(err)
			}
		}
		r.Close(s, true)
		r.settle()
		got := make([]byte, 9)
		n, err := peer.Read(got)
		_, end := peer.Read(got[n:])
		if string(got[:n]) != "sent" || err != nil || !errors.Is(end, row.want) {
			t.Errorf("unread %v: the peer reads %q, %v, then %v", row.unread, got[:n], err, end)
		}
	}
}

// Nobody at a path is told by OpConnect, as nobody at a port is, with what is the matter.
func testUnixRefused(t *testing.T, open opener) {
	r := newRig(t, open)
	dir := socketDir(t)
	plain, stale, packets := filepath.Join(dir, "plain"), filepath.Join(dir, "stale"), filepath.Join(dir, "packets")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := listenUnixPlain(t, stale)
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: packets, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for path, want := range map[string]syscall.Errno{
		filepath.Join(dir, "none"): unix.ENOENT, filepath.Join(plain, "below"): unix.ENOTDIR, plain: unix.ECONNREFUSED, stale: unix.ECONNREFUSED,
		packets: unix.EPROTOTYPE, "@homing-test-nobody": unix.ECONNREFUSED,
	} {
		s, errno := r.connectUnix(path, 0)
		if errno != 0 {
			t.Fatal(errno)
		}
		errno = r.take(OpConnect, s).Errno
		r.Close(s, true)
		if errno != want || r.Stats().Socks != 0 {
			t.Errorf("%s: %v and %d sockets open, want %v", path, errno, r.Stats().Socks, want)
		}
	}
}

// A connect to a server whose queue is full ends when there is room, in whatever order,
// with an error when the server goes, and can be given up.
func testUnixQueueFull(t *testing.T, open opener) {
	r := newRig(t, open)
	path := filepath.Join(socketDir(t), "s")
	l := listenUnixPlain(t, path)
	raw, err := l.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) { err = unix.Listen(int(fd), 1) }); err != nil {
		t.Fatal(err)
	}
	var all []Sock
	for i := range 6 { // two fit: the kernel takes one more than the queue is long
		s, errno := r.connectUnix(path, uint32(i))
		if errno != 0 {
			t.Fatalf("connect %d: %v", i, errno)
		}
		all = append(all, s)
	}
	for _, s := range all[:2] {
		if c := r.take(OpConnect, s); c.Errno != 0 {
			t.Fatal(c.Errno)
		}
	}
	turns := r.Now().Add(10 * knockEvery)
	r.until("a few knocks", func() bool { return r.Now() > turns })
	if len(r.ended) > 0 {
		t.Fatalf("connected to a full queue: %+v", r.ended)
	}
	r.Close(all[2], true) // given up
	for range 3 {
		conn, err := l.AcceptUnix()
		boundUnix(t, conn, err)
		r.until("that one more is connected", func() bool {
			r.Wake() // there is always something else to do
			r.ended = slices.DeleteFunc(r.ended, func(c Completion) bool { return c.Op == OpWake })
			return len(r.ended) > 0
		})
		r.settle()
		c := r.ended[0]
		r.ended = nil
		if c.Op != OpConnect || c.Errno != 0 || c.Sock == all[2] {
			t.Errorf("after an accept: %+v", c)
		}
		r.send(c.Sock, hello)
		if c.Sock == all[4] {
			break
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if c := r.take(OpConnect, all[5]); c.Errno != unix.ENOENT || c.Tag != 5 {
		t.Errorf("the server is gone with its file: %+v, want ENOENT", c)
	}
}

// Bytes are spliced between a unix socket and one of TCP, either way, and between two of unix.
func testUnixSplice(t *testing.T, open opener) {
	type conn interface {
		net.Conn
		CloseWrite() error
	}
	kinds := []struct {
		name string
		made func(*rig) (Sock, conn)
	}{
		{"tcp", func(r *rig) (Sock, conn) { return r.accepted() }},
		{"unix", func(r *rig) (Sock, conn) { return r.connectedUnix() }},
		{"accepted unix", func(r *rig) (Sock, conn) { return r.acceptedUnix() }},
	}
	for i, from := range kinds {
		for j, to := range kinds {
			if i == 0 && j == 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s to %s", from.name, to.name), func(t *testing.T) {
				r := newRig(t, open)
				src, source := from.made(r)
				dst, sink := to.made(r)
				all := noiseBytes(9, 8<<20)
				ends := make(chan error, 2)
				go func() {
					_, err := source.Write(all)
					ends <- errors.Join(err, source.CloseWrite())
				}()
				go func() {
					got, err := io.ReadAll(sink)
					if !bytes.Equal(got, all) {
						err = errors.Join(err, fmt.Errorf("got %d bytes, others than the %d sent", len(got), len(all)))
					}
					ends <- err
				}()
				moved := 0
				for {
					c := r.splice(src, dst)
					if c.Errno != 0 {
						t.Fatalf("after %d bytes: %+v", moved, c)
					}
					if moved += c.N; c.N == 0 {
						break
					}
				}
				r.Shutdown(dst)
				for range 2 {
					if err := <-ends; err != nil {
						t.Error(err)
					}
				}
				if moved != len(all) {
					t.Errorf("moved %d of %d bytes", moved, len(all))
				}
			})
		}
	}
}

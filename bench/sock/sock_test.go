//go:build linux

package sock_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"homing/bench/sock"
)

// patience bounds waits that a test expects to end.
const patience = 10 * time.Second

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func target(l net.Listener) netip.AddrPort { return netip.MustParseAddrPort(l.Addr().String()) }

func poller(t *testing.T) *sock.Poller {
	t.Helper()
	p, err := sock.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// until waits for an event that the condition likes.
func until(t *testing.T, p *sock.Poller, cond func(sock.Event) bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		events, err := p.Wait(time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(events, cond) {
			return
		}
	}
	t.Fatal("the event did not come")
}

func TestConnFromASourceAddress(t *testing.T) {
	l, p := listen(t), poller(t)
	const token = 1<<63 | 7
	fd, err := sock.Connect(target(l), sock.Options{Source: netip.MustParseAddr("127.9.8.7"), ReceiveBuffer: 8 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close(fd)
	if err := p.Add(fd, token, true); err != nil {
		t.Fatal(err)
	}
	until(t, p, func(e sock.Event) bool { return e.Token == token && e.Writable })
	if err := sock.Connected(fd); err != nil {
		t.Fatal(err)
	}
	peer, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	if from := peer.RemoteAddr().String(); !strings.HasPrefix(from, "127.9.8.7:") {
		t.Errorf("the conn comes from %s", from)
	}
	if _, err := sock.Read(fd, make([]byte, 10)); err != sock.Again {
		t.Errorf("read of nothing: %v", err)
	}
	if n, err := sock.Write(fd, []byte("ping")); n != 4 || err != nil {
		t.Fatalf("write: %d, %v", n, err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(peer, got); err != nil || string(got) != "ping" {
		t.Errorf("the peer got %q, %v", got, err)
	}
	if _, err := peer.Write([]byte("pong")); err != nil {
		t.Fatal(err)
	}
	_ = peer.Close()
	var all []byte
	until(t, p, func(e sock.Event) bool {
		for e.Readable {
			n, err := sock.Read(fd, got)
			all = append(all, got[:n]...)
			if err == io.EOF {
				return true
			}
			if err != nil {
				return false
			}
		}
		return false
	})
	if string(all) != "pong" {
		t.Errorf("read %q", all)
	}
}

func TestConnectThatFails(t *testing.T) {
	l, p := listen(t), poller(t)
	closed := target(l)
	_ = l.Close()
	fd, err := sock.Connect(closed, sock.Options{})
	if err == nil {
		defer sock.Close(fd)
		if err := p.Add(fd, 1, true); err != nil {
			t.Fatal(err)
		}
		until(t, p, func(e sock.Event) bool { return e.Writable })
		err = sock.Connected(fd)
	}
	if !errors.Is(err, sock.Refused) {
		t.Errorf("connect to a closed port: %v", err)
	}
	if _, err := sock.Connect(closed, sock.Options{Source: netip.MustParseAddr("203.0.113.1")}); !errors.Is(err, sock.NoPorts) {
		t.Errorf("connect from an address that is not ours: %v", err)
	}
}

func TestWriteStopsWhenThereIsNoRoom(t *testing.T) {
	l := listen(t)
	fd, err := sock.Connect(target(l), sock.Options{})
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.AcceptTCP() // which reads nothing
	if err != nil {
		t.Fatal(err)
	}
	chunk := bytes.Repeat([]byte("x"), 1<<20)
	for total := 0; ; {
		n, err := sock.Write(fd, chunk)
		if err == sock.Again {
			break
		}
		if total += n; err != nil || total > 1<<30 {
			t.Fatalf("after %d bytes: %v", total, err)
		}
	}
	sock.Close(fd)
	_ = peer.Close()
}

// A conn that is watched for reading alone says nothing while it could be written to, until it is asked to.
func TestWatchWritingLater(t *testing.T) {
	l, p := listen(t), poller(t)
	fd, err := sock.Connect(target(l), sock.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close(fd)
	if err := p.Add(fd, 5, false); err != nil {
		t.Fatal(err)
	}
	if events, err := p.Wait(5 * time.Millisecond); len(events) != 0 || err != nil {
		t.Errorf("%+v, %v", events, err)
	}
	if err := p.Both(fd, 5); err != nil {
		t.Fatal(err)
	}
	until(t, p, func(e sock.Event) bool { return e == sock.Event{Token: 5, Writable: true} })
}

func TestWaitEnds(t *testing.T) {
	p := poller(t)
	start := time.Now()
	if events, err := p.Wait(2 * time.Millisecond); len(events) != 0 || err != nil || time.Since(start) < 2*time.Millisecond {
		t.Errorf("%v, %v after %v", events, err, time.Since(start))
	}
	if events, err := p.Wait(0); len(events) != 0 || err != nil {
		t.Errorf("%v, %v", events, err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := p.Wait(-1)
		done <- err
	}()
	p.Wake()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Wake did not end the wait")
	}
}

// A conn that is gone must not leave its descriptor behind.
func TestNoDescriptorIsLost(t *testing.T) {
	l := listen(t)
	before := descriptors(t)
	for range 20 {
		if _, err := sock.Connect(target(l), sock.Options{Source: netip.MustParseAddr("203.0.113.1")}); err == nil {
			t.Fatal("connected from an address that is not ours")
		}
		fd, err := sock.Connect(target(l), sock.Options{})
		if err != nil {
			t.Fatal(err)
		}
		sock.Close(fd)
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
	if n, err := sock.DescriptorLimit(); err != nil || n < before {
		t.Errorf("limit %d, %v", n, err)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

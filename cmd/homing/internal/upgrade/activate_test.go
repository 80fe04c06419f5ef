//go:build linux

package upgrade

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// socketOf is a socket as systemd hands it over.
func socketOf(t *testing.T, name string, of syscall.Conn) socket {
	t.Helper()
	fd, err := duplicate(of)
	check(t, err)
	s, err := inspect(name, fd)
	check(t, err)
	return s
}

func listenAt(t *testing.T, addr string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	check(t, err)
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

func portOf(l net.Listener) uint16 { return l.Addr().(*net.TCPAddr).AddrPort().Port() }

// Sockets go where their address, or the name of their unit, is that of a listener; what fits nowhere is named.
func TestSocketsFindTheirListeners(t *testing.T) {
	v4, both, named, spare := listenAt(t, "127.0.0.1:0"), listenAt(t, ":0"), listenAt(t, "127.0.0.1:0"), listenAt(t, "127.0.0.1:0")
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	check(t, err)
	defer udp.Close()
	path := filepath.Join(t.TempDir(), "admin.sock")
	unix, err := net.Listen("unix", path)
	check(t, err)
	defer unix.Close()
	before := descriptors(t)
	e := &Estate{sockets: []socket{
		socketOf(t, "a.socket", v4), socketOf(t, "b.socket", both), socketOf(t, "web", named), socketOf(t, "spare", spare),
		socketOf(t, "gossip", udp), socketOf(t, "admin", unix.(*net.UnixListener)),
	}}
	got := e.Sockets([]Listening{
		{"one", v4.Addr().String()},
		{"two", fmt.Sprintf("0.0.0.0:%d", portOf(both))}, // another way to say all addresses
		{"web", "192.0.2.1:443"},
		{"three", "127.0.0.1:1"},
		{"four", "nonsense"},
	})
	want := []netip.AddrPort{
		netip.MustParseAddrPort(v4.Addr().String()), netip.AddrPortFrom(netip.IPv4Unspecified(), portOf(both)), netip.MustParseAddrPort("192.0.2.1:443"),
	}
	var addrs []netip.AddrPort
	for _, b := range got {
		addrs = append(addrs, b.Addr)
		if len(b.FDs) != 1 {
			t.Errorf("%s: %v", b.Addr, b.FDs)
		}
		closeAll(b.FDs)
	}
	if !slices.Equal(addrs, want) {
		t.Errorf("got %v, want %v", addrs, want)
	}
	if l := e.Listener("admin", "unix", "/elsewhere"); l != nil {
		t.Error("the socket of another path was taken")
	}
	l := e.Listener("admin", "unix", path)
	if l == nil {
		t.Fatal("the socket of the path was not taken")
	}
	l.Close()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the path is gone, another process listens there: %v", err)
	}
	if c := e.PacketConn("gossip", "127.0.0.1:1"); c != nil {
		t.Error("the packet socket of another port was taken")
	}
	c := e.PacketConn("gossip", udp.LocalAddr().String())
	if c == nil {
		t.Fatal("the packet socket was not taken")
	}
	c.Close()
	if names := e.Unused(); len(names) != 1 || !strings.HasPrefix(names[0], "spare of systemd (127.0.0.1:") {
		t.Errorf("unused: %v", names)
	}
	e.Done()
	if now := descriptors(t); now != before {
		t.Errorf("%d descriptors, before %d", now, before)
	}
}

// An elder's sockets are several at one address, one per loop; one that is bound elsewhere is not used under its name.
func TestSocketsOfTheElder(t *testing.T) {
	l, other := listenAt(t, "127.0.0.1:0"), listenAt(t, "127.0.0.1:0")
	before := descriptors(t)
	addr := netip.MustParseAddrPort(l.Addr().String())
	var p Parcel
	dup := func(of *net.TCPListener) int {
		fd, err := duplicate(of)
		check(t, err)
		return fd
	}
	p.AddListeners([]Bound{{addr, []int{dup(l), dup(l)}}, {netip.MustParseAddrPort("127.0.0.1:1"), []int{dup(other)}}})
	p.Add("admin", dup(other))
	p.Add("admin", dup(l))
	e := &Estate{Parcel: p}
	got := e.Sockets([]Listening{{"", addr.String()}})
	if len(got) != 1 || len(got[0].FDs) != 2 {
		t.Errorf("got %v", got)
	}
	for _, b := range got {
		closeAll(b.FDs)
	}
	admin := e.Listener("admin", "tcp", addr.String())
	if admin == nil || admin.Addr().String() != addr.String() {
		t.Fatalf("admin: %v", admin)
	}
	admin.Close()
	if admin := e.Listener("admin", "tcp", addr.String()); admin != nil {
		t.Error("taken twice")
	}
	if names := e.Unused(); !slices.Equal(names, []string{"listener 127.0.0.1:1"}) {
		t.Errorf("unused: %v", names)
	}
	e.Done()
	if now := descriptors(t); now != before {
		t.Errorf("%d descriptors, before %d", now, before)
	}
}

// What is no listening socket is refused with its name.
func TestInspectRefuses(t *testing.T) {
	l := listenAt(t, "127.0.0.1:0")
	conn, err := net.Dial("tcp", l.Addr().String())
	check(t, err)
	defer conn.Close()
	file, err := os.Open(os.DevNull)
	check(t, err)
	defer file.Close()
	connFD, err := duplicate(conn.(*net.TCPConn))
	check(t, err)
	defer closeAll([]int{connFD})
	if _, err := inspect("x", connFD); err == nil || !strings.Contains(err.Error(), "Accept=no") {
		t.Errorf("a conn: %v", err)
	}
	fileFD, err := duplicate(file)
	check(t, err)
	defer closeAll([]int{fileFD})
	if _, err := inspect("x", fileFD); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a file: %v", err)
	}
}

// systemd's own tool starts the test binary, which says what it was given.
func TestActivatedBySystemd(t *testing.T) {
	tool, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		t.Skip("systemd-socket-activate is not installed")
	}
	l := listenAt(t, "127.0.0.1:0")
	addr := l.Addr().String()
	l.Close()
	self, err := os.Executable()
	check(t, err)
	var out strings.Builder
	cmd := exec.CommandContext(t.Context(), tool, "--listen="+addr, "--fdname=web", "--setenv="+envMode+"=activated", self)
	cmd.Stdout, cmd.Stderr = &out, &out
	check(t, cmd.Start())
	wait(t, "it starts when somebody comes", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "given web at "+addr+", 0 left") {
		t.Errorf("%v: %s", err, &out)
	}
}

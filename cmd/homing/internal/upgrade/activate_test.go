//go:build linux

package upgrade

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"homing/balancer"
	"homing/balancer/netaddr"
	"homing/bench/testkit"
)

// socketOf is a socket as systemd hands it over.
func socketOf(t *testing.T, name string, of syscall.Conn) socket {
	t.Helper()
	fd, err := duplicate(of)
	testkit.Check(t, err)
	s, err := inspect(name, fd)
	testkit.Check(t, err)
	return s
}

func listenAt(t *testing.T, addr string) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	testkit.Check(t, err)
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

func portOf(l net.Listener) uint16 { return l.Addr().(*net.TCPAddr).AddrPort().Port() }

// Sockets go where their address, or the name of their unit, is that of a listener; what fits nowhere is named.
func TestSocketsFindTheirListeners(t *testing.T) {
	v4, both, named, spare := listenAt(t, "127.0.0.1:0"), listenAt(t, ":0"), listenAt(t, "127.0.0.1:0"), listenAt(t, "127.0.0.1:0")
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	testkit.Check(t, err)
	defer udp.Close()
	path := filepath.Join(t.TempDir(), "admin.sock")
	unix, err := net.Listen("unix", path)
	testkit.Check(t, err)
	defer unix.Close()
	service, err := net.ListenUnix("unix", &net.UnixAddr{Name: path + "2", Net: "unix"})
	testkit.Check(t, err)
	defer service.Close()
	before := descriptors(t)
	e := &Estate{sockets: []socket{
		socketOf(t, "service.socket", service), socketOf(t, "a.socket", v4), socketOf(t, "b.socket", both), socketOf(t, "web", named), socketOf(t, "spare", spare),
		socketOf(t, "gossip", udp), socketOf(t, "admin", unix.(*net.UnixListener)),
	}}
	all := e.Sockets([]string{
		"unix:" + service.Addr().String(),
		v4.Addr().String(),
		fmt.Sprintf("0.0.0.0:%d", portOf(both)), // another way to say all addresses
		fmt.Sprintf("[::ffff:127.0.0.1]:%d", portOf(named)),
		"127.0.0.1:1",
		"nonsense",
	})
	if len(all) != 2 || len(all[0].FDs) != 0 || !all[1].Foreign {
		t.Fatalf("got %v, want all as systemd's", all)
	}
	var addrs []string
	for _, fd := range all[1].FDs {
		s, err := inspect("", fd)
		testkit.Check(t, err)
		addrs = append(addrs, s.addr.String())
	}
	closeAll(all[1].FDs)
	want := []string{"unix:" + service.Addr().String(), v4.Addr().String(), both.Addr().String(), named.Addr().String()}
	if !slices.Equal(addrs, want) {
		t.Errorf("got %v, want %v", addrs, want)
	}
	if f := e.File("admin", "unix", "/elsewhere"); f != nil {
		t.Error("the socket of another path was taken")
	}
	f := e.File("admin", "unix", path)
	if f == nil {
		t.Fatal("the socket of the path was not taken")
	}
	f.Close()
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
	var p Parcel
	dup := func(of *net.TCPListener) int {
		fd, err := duplicate(of)
		testkit.Check(t, err)
		return fd
	}
	p.AddListeners([]balancer.ExportedSocket{
		{FDs: []int{dup(l), dup(l)}},
		{FDs: []int{dup(other)}, Foreign: true},
		{Addr: netaddr.Unix("/run/a"), FDs: []int{dup(other)}, Foreign: true},
	})
	p.Add("admin", dup(other))
	p.Add("admin", dup(l))
	p.Add("replication", dup(other))
	e := &Estate{Parcel: p}
	got := e.Sockets(nil) // the balancer closes those that it has no use for
	if len(got) != 2 || len(got[0].FDs) != 3 || len(got[1].FDs) != 1 || !got[1].Foreign {
		t.Errorf("got %v, want one whose file is systemd's", got)
	}
	closeAll(got[0].FDs)
	closeAll(got[1].FDs)
	admin := e.Listener("admin", l.Addr().String())
	if admin == nil || admin.Addr().String() != l.Addr().String() {
		t.Fatalf("admin: %v", admin)
	}
	admin.Close()
	if admin := e.Listener("admin", l.Addr().String()); admin != nil {
		t.Error("taken twice")
	}
	if names := e.Unused(); !slices.Equal(names, []string{"replication"}) {
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
	testkit.Check(t, err)
	defer conn.Close()
	file, err := os.Open(os.DevNull)
	testkit.Check(t, err)
	defer file.Close()
	connFD, err := duplicate(conn.(*net.TCPConn))
	testkit.Check(t, err)
	defer closeAll([]int{connFD})
	if _, err := inspect("x", connFD); err == nil || !strings.Contains(err.Error(), "Accept=no") {
		t.Errorf("a conn: %v", err)
	}
	fileFD, err := duplicate(file)
	testkit.Check(t, err)
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
	t.Setenv("HOMING_TEST_ADDR", addr)
	self, err := os.Executable()
	testkit.Check(t, err)
	var out strings.Builder
	cmd := exec.CommandContext(t.Context(), tool, "--listen="+addr, "--fdname=web", "--setenv="+envMode+"=activated", "--setenv=HOMING_TEST_ADDR", self)
	cmd.Stdout, cmd.Stderr = &out, &out
	testkit.Check(t, cmd.Start())
	wait(t, "it starts when somebody comes", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "at first [web of systemd ("+addr+")]\ngiven "+addr+", 0 left") {
		t.Errorf("%v: %s", err, &out)
	}
}

//go:build linux

package testkit

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"homing/bench/proc"
)

// Room is a network namespace, by its name, that ends with its test. A room that a test left behind which was cut short is
// made anew.
type Room string

// NeedRooms skips a test that may not make namespaces.
func NeedRooms(tb testing.TB) {
	tb.Helper()
	if os.Getuid() != 0 {
		tb.Skip("network namespaces are root's to make")
	}
	Need(tb, "ip")
}

// NewRoom makes a namespace whose loopback is up. Its files of etc, such as resolv.conf, stand there over those of /etc.
func NewRoom(tb testing.TB, name string, etc map[string]string) Room {
	tb.Helper()
	NeedRooms(tb)
	r, over := Room(name), filepath.Join("/etc/netns", name)
	leave := func() {
		_ = exec.Command("ip", "netns", "del", name).Run() // what is not there need not go
		_ = os.RemoveAll(over)
	}
	leave()
	tb.Cleanup(leave)
	for file, text := range etc {
		if err := os.MkdirAll(over, 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(over, file), []byte(text), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	Run(tb, "ip", "netns", "add", name)
	r.IP(tb, "link", "set", "lo", "up")
	return r
}

// NewRooms makes a namespace for each host, behind a bridge that has the address with the end 1 on this machine. A room and
// its interface here are named by the bridge and the end of the host's address: at most 15 characters.
func NewRooms(tb testing.TB, bridge, network string, ends ...string) (rooms []Room) {
	tb.Helper()
	NeedRooms(tb)
	clear := func() {
		for _, end := range append(ends, "") { // first: with its namespace an interface goes some time later
			_ = exec.Command("ip", "link", "del", bridge+end).Run() // what is not there need not go
		}
	}
	clear()
	defer tb.Cleanup(clear) // behind the rooms', so that it comes before them
	Run(tb, "ip", "link", "add", bridge, "type", "bridge")
	Run(tb, "ip", "addr", "add", network+"1/24", "dev", bridge)
	Run(tb, "ip", "link", "set", bridge, "up")
	for _, end := range ends {
		r := NewRoom(tb, bridge+"-"+end, nil)
		Run(tb, "ip", "link", "add", bridge+end, "type", "veth", "peer", "name", "eth0", "netns", string(r))
		Run(tb, "ip", "link", "set", bridge+end, "master", bridge, "up")
		r.Join(tb, "eth0", network+end+"/24")
		rooms = append(rooms, r)
	}
	return rooms
}

// Join gives an interface of the namespace an address, and takes it into service.
func (r Room) Join(tb testing.TB, device, addr string) {
	tb.Helper()
	r.IP(tb, "addr", "add", addr, "dev", device)
	r.IP(tb, "link", "set", device, "up")
}

// IP runs ip for the namespace.
func (r Room) IP(tb testing.TB, args ...string) {
	tb.Helper()
	Run(tb, "ip", append([]string{"-n", string(r)}, args...)...)
}

// Command is a program in the namespace. The end of ctx kills it.
func (r Room) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", string(r), name}, args...)...)
}

// Run runs a program in the namespace to its end, which has to be a good one.
func (r Room) Run(tb testing.TB, name string, args ...string) {
	tb.Helper()
	Run(tb, "ip", append([]string{"netns", "exec", string(r), name}, args...)...)
}

// Start is the kit's Start in the namespace. Where addr is given, it has to be reachable from here.
func (r Room) Start(tb testing.TB, addr, name string, args ...string) *proc.Process {
	tb.Helper()
	return Start(tb, addr, "ip", append([]string{"netns", "exec", string(r), name}, args...)...)
}

package capture_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/observe/capture"
)

// The two ends of the wire in the tests' namespace: what is sent at far arrives at near.
const near, far = "near", "far"

// wire makes a namespace with a wire in it, and enters it. Its name is this process's: these tests may run twice at once.
func wire(t testing.TB) testkit.Room {
	t.Helper()
	room := testkit.NewRoom(t, fmt.Sprint("homing-capture-", os.Getpid()), nil)
	room.IP(t, "link", "add", near, "type", "veth", "peer", "name", far)
	room.IP(t, "link", "set", near, "up")
	room.IP(t, "link", "set", far, "up")
	enter(t, room)
	return room
}

// enter has the thread of a test stay in the namespace until the test ends.
func enter(t testing.TB, room testkit.Room) {
	t.Helper()
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	testkit.Check(t, err)
	there, err := os.Open("/run/netns/" + string(room))
	testkit.Check(t, err)
	defer there.Close()
	testkit.Check(t, unix.Setns(int(there.Fd()), unix.CLONE_NEWNET))
	t.Cleanup(func() {
		defer home.Close()
		if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
			t.Errorf("back home: %v", err)
			return // the thread stays locked, and ends with the test
		}
		runtime.UnlockOSThread()
	})
}

// sender sends frames at an interface.
func sender(t testing.TB, device string) func(frame []byte) {
	t.Helper()
	i, err := net.InterfaceByName(device)
	testkit.Check(t, err)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	testkit.Check(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return func(frame []byte) {
		t.Helper()
		testkit.Check(t, unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: i.Index}))
	}
}

func listen(t testing.TB, o capture.Options) capture.Source {
	t.Helper()
	if o.Buffer == 0 {
		o.Buffer = 4 << 20
	}
	s, err := capture.Listen(t.Context(), o)
	testkit.Check(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// frame returns what the layers are on the wire, behind an Ethernet header and tags of VLANs.
func frame(t testing.TB, vlans []uint16, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	network := parts[0].(gopacket.NetworkLayer)
	last := layers.EthernetTypeIPv4
	if _, ok := network.(*layers.IPv6); ok {
		last = layers.EthernetTypeIPv6
	}
	eth := &layers.Ethernet{SrcMAC: make(net.HardwareAddr, 6), DstMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, EthernetType: last}
	all := []gopacket.SerializableLayer{eth}
	for i, id := range vlans {
		tag := &layers.Dot1Q{VLANIdentifier: id, Type: last}
		if i == 0 {
			eth.EthernetType = layers.EthernetTypeDot1Q
		} else {
			all[i].(*layers.Dot1Q).Type = layers.EthernetTypeDot1Q
		}
		all = append(all, tag)
	}
	for _, p := range parts {
		if l4, ok := p.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok {
			testkit.Check(t, l4.SetNetworkLayerForChecksum(network))
		}
	}
	b := gopacket.NewSerializeBuffer()
	testkit.Check(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append(all, parts...)...))
	return b.Bytes()
}

func tcp(port layers.TCPPort) *layers.TCP {
	return &layers.TCP{SrcPort: 1024, DstPort: port, ACK: true}
}

// said is a segment's payload.
func said(text string) gopacket.Payload { return gopacket.Payload(text) }

// last is the payload that ends a test.
const last = "the end"

// hear returns the payloads of what the source gives, up to last.
func hear(t testing.TB, s capture.Source) (heard []string) {
	t.Helper()
	for {
		p, err := s.Next()
		if err != nil {
			t.Fatalf("behind %q: %v", heard, err)
		}
		if p.Data == nil {
			continue
		}
		if since := time.Since(p.Time); since < -time.Second || since > time.Minute {
			t.Errorf("captured %v ago", since)
		}
		decoded := gopacket.NewPacket(p.Data, p.LinkType, gopacket.Default)
		if decoded.ErrorLayer() != nil {
			t.Errorf("%v of % x", decoded.ErrorLayer().Error(), p.Data)
			continue
		}
		text := "a packet without a payload"
		if app := decoded.ApplicationLayer(); app != nil {
			text = string(app.Payload())
		}
		if text == last {
			return heard
		}
		heard = append(heard, text)
	}
}

func TestListenFilter(t *testing.T) {
	room := wire(t)
	send := sender(t, far)
	later := capture.IP4(layers.IPProtocolTCP)
	later.FragOffset = 1
	sendAll := func() {
		send(frame(t, nil, capture.IP4(layers.IPProtocolTCP), tcp(443), said("plain")))
		send(frame(t, nil, capture.IP4(layers.IPProtocolTCP), tcp(80), said("port 80")))
		send(frame(t, nil, capture.IP6(layers.IPProtocolTCP), tcp(443), said("IPv6")))
		send(frame(t, nil, capture.IP6(layers.IPProtocolTCP), tcp(80), said("IPv6, port 80")))
		send(frame(t, []uint16{10}, capture.IP4(layers.IPProtocolTCP), tcp(443), said("VLAN")))
		send(frame(t, []uint16{10}, capture.IP4(layers.IPProtocolTCP), tcp(80), said("VLAN, port 80")))
		send(frame(t, []uint16{10, 20}, capture.IP4(layers.IPProtocolTCP), tcp(443), said("two tags")))
		send(frame(t, []uint16{10, 20, 30}, capture.IP6(layers.IPProtocolTCP), tcp(443), said("three tags")))
		send(frame(t, []uint16{10, 20, 30}, capture.IP6(layers.IPProtocolTCP), tcp(80), said("three tags, port 80")))
		send(frame(t, nil, capture.IP4(layers.IPProtocolUDP), &layers.UDP{DstPort: 443}, said("UDP")))
		send(frame(t, nil, capture.IP4(layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeIPv4}, capture.IP4(layers.IPProtocolTCP), said("\x00\x00\x01\xbb GRE")))
		send(frame(t, nil, capture.IP4(layers.IPProtocolTCP), tcp(443), said(last)))
	}
	t.Run("ports", func(t *testing.T) {
		enter(t, room)
		s := listen(t, capture.Options{Interface: near, Ports: []uint16{443}})
		sendAll()
		if diff := cmp.Diff([]string{"plain", "IPv6", "VLAN", "two tags", "three tags"}, hear(t, s)); diff != "" {
			t.Errorf("heard (-want +got):\n%s", diff)
		}
		if st := s.Stats(); st.Packets != 6 || st.Dropped != 0 || st.Source != near {
			t.Errorf("%+v, want 6 packets of %s", st, near)
		}
	})
	t.Run("all TCP", func(t *testing.T) {
		enter(t, room)
		s := listen(t, capture.Options{Interface: near})
		sendAll()
		want := []string{
			"plain", "port 80", "IPv6", "IPv6, port 80", "VLAN", "VLAN, port 80", "two tags", "three tags", "three tags, port 80",
		}
		if diff := cmp.Diff(want, hear(t, s)); diff != "" {
			t.Errorf("heard (-want +got):\n%s", diff)
		}
	})
	t.Run("mirrors", func(t *testing.T) {
		enter(t, room)
		s := listen(t, capture.Options{Interface: near, Ports: []uint16{9}, Mirrors: true})
		send(frame(t, nil, capture.IP4(layers.IPProtocolTCP), tcp(443), said("of no port")))
		send(frame(t, nil, capture.IP4(layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeIPv4}, capture.IP4(layers.IPProtocolTCP), tcp(443), said("GRE")))
		send(frame(t, nil, capture.IP4(layers.IPProtocolUDP), &layers.UDP{DstPort: 4789}, &layers.VXLAN{}, gopacket.Payload(
			frame(t, nil, capture.IP4(layers.IPProtocolTCP), tcp(443), said("VXLAN")))))
		send(frame(t, nil, capture.IP4(layers.IPProtocolTCP), tcp(9), said(last)))
		if diff := cmp.Diff([]string{"GRE", "VXLAN"}, hear(t, s)); diff != "" {
			t.Errorf("heard (-want +got):\n%s", diff)
		}
	})
	t.Run("all interfaces", func(t *testing.T) {
		enter(t, room)
		s := listen(t, capture.Options{Interface: "any", Ports: []uint16{443}})
		send(frame(t, nil, capture.IP4(layers.IPProtocolTCP), tcp(443), said("both ends")))
		send(frame(t, nil, capture.IP4(layers.IPProtocolTCP), tcp(443), said(last)))
		if diff := cmp.Diff([]string{"both ends", "both ends"}, hear(t, s)); diff != "" { // it is sent at one and arrives at the other
			t.Errorf("heard (-want +got):\n%s", diff)
		}
	})
	t.Run("what is for other machines", func(t *testing.T) {
		enter(t, room)
		flags := func() int {
			text, err := exec.Command("ip", "-d", "link", "show", near).Output()
			testkit.Check(t, err)
			_, after, _ := strings.Cut(string(text), "promiscuity ")
			word, _, _ := strings.Cut(after, " ")
			n, err := strconv.Atoi(word)
			testkit.Check(t, err)
			return n
		}
		s := listen(t, capture.Options{Interface: near, Promiscuous: true})
		if n := flags(); n != 1 {
			t.Errorf("promiscuity %d, want 1", n)
		}
		testkit.Check(t, s.Close())
		if n := flags(); n != 0 {
			t.Errorf("promiscuity %d behind the end, want 0", n)
		}
	})
	t.Run("snap length", func(t *testing.T) {
		enter(t, room)
		s := listen(t, capture.Options{Interface: near, Snap: 60})
		whole := frame(t, nil, capture.IP4(layers.IPProtocolTCP), tcp(443), said(strings.Repeat("long", 200)))
		send(whole)
		p, err := s.Next()
		for err == nil && p.Data == nil {
			p, err = s.Next()
		}
		testkit.Check(t, err)
		if want := len(whole) - 14 + 16; len(p.Data) != 60+16 || p.Length != want { // a cooked header is 2 bytes longer than Ethernet's
			t.Errorf("%d of %d bytes, want 76 of %d", len(p.Data), p.Length, want)
		}
	})
}

// A device without a link layer, as a tunnel is, gives packets like any other.
func TestListenTunnel(t *testing.T) {
	room := wire(t)
	tunnel, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		t.Skip(err)
	}
	defer tunnel.Close()
	request, err := unix.NewIfreq("tunnel")
	testkit.Check(t, err)
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	testkit.Check(t, unix.IoctlIfreq(int(tunnel.Fd()), unix.TUNSETIFF, request))
	room.IP(t, "link", "set", "tunnel", "up")
	for _, device := range []string{"tunnel", "any"} {
		s := listen(t, capture.Options{Interface: device, Ports: []uint16{443}})
		for _, network := range []gopacket.SerializableLayer{capture.IP4(layers.IPProtocolTCP), capture.IP6(layers.IPProtocolTCP)} {
			for _, port := range []layers.TCPPort{443, 80} {
				_, err := tunnel.Write(frame(t, nil, network, tcp(port), said(fmt.Sprint(uint16(port))))[14:])
				testkit.Check(t, err)
			}
		}
		_, err := tunnel.Write(frame(t, nil, capture.IP4(layers.IPProtocolTCP), tcp(443), said(last))[14:])
		testkit.Check(t, err)
		if diff := cmp.Diff([]string{"443", "443"}, hear(t, s)); diff != "" {
			t.Errorf("%s: heard (-want +got):\n%s", device, diff)
		}
	}
}

// What the loopback interface sends it receives: it is seen once. Segments come as long as offload makes them.
func TestListenLoopback(t *testing.T) {
	wire(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Check(t, err)
	defer l.Close()
	for _, device := range []string{"lo", "any"} {
		s := listen(t, capture.Options{Interface: device, Ports: []uint16{uint16(l.Addr().(*net.TCPAddr).Port)}})
		conn, err := net.Dial("tcp", l.Addr().String())
		testkit.Check(t, err)
		peer, err := l.Accept()
		testkit.Check(t, err)
		hello := slices.Repeat([]byte("hello"), 20_000)
		go func() {
			_, _ = conn.Write(hello) // its end is what is looked at
			conn.Close()
		}()
		_, err = io.Copy(io.Discard, peer)
		testkit.Check(t, err)
		peer.Close()
		seen, longest := map[uint32]int{}, 0
		for got := 0; got < len(hello); {
			p, err := s.Next()
			testkit.Check(t, err)
			if p.Data == nil {
				continue
			}
			segment := gopacket.NewPacket(p.Data, p.LinkType, gopacket.Default).Layer(layers.LayerTypeTCP).(*layers.TCP)
			if n := len(segment.Payload); n > 0 {
				seen[segment.Seq]++
				got, longest = got+n, max(longest, n)
			}
			if len(p.Data) != p.Length {
				t.Errorf("%s: a packet of %d bytes is cut at %d", device, p.Length, len(p.Data))
			}
		}
		for at, n := range seen {
			if n != 1 {
				t.Errorf("%s: the segment at %d was seen %d times", device, at, n)
			}
		}
		t.Logf("%s: %d segments, the longest of %d bytes", device, len(seen), longest)
	}
}

// Packets that found no room in the ring are counted: none is given and none counted twice.
func TestListenCountsDrops(t *testing.T) {
	wire(t)
	send := sender(t, far)
	s := listen(t, capture.Options{Interface: near, Buffer: 1})
	const sent = 4000
	packet := frame(t, nil, capture.IP4(layers.IPProtocolTCP), tcp(443), said(strings.Repeat("full", 300)))
	for range sent {
		send(packet)
	}
	if dropped := s.Stats().Dropped; dropped == 0 {
		t.Error("no drop, with 5 MB in a ring of 1 MB")
	}
	for quiet := false; !quiet; {
		p, err := s.Next()
		testkit.Check(t, err)
		quiet = p.Data == nil
	}
	if st := s.Stats(); st.Packets+st.Dropped != sent {
		t.Errorf("%d packets and %d dropped, %d sent", st.Packets, st.Dropped, sent)
	}
	send(packet) // there is room again
	for {
		if p, err := s.Next(); err != nil || p.Data != nil {
			testkit.Check(t, err)
			break
		}
	}
}

// The ring goes round and round without losing the order.
func TestListenGoesRound(t *testing.T) {
	wire(t)
	send := sender(t, far)
	s := listen(t, capture.Options{Interface: near, Buffer: 2 << 20})
	var next uint32
	for range 12 { // 3 MB in all
		for i := range uint32(200) {
			number := binary.BigEndian.AppendUint32(nil, next+i)
			send(frame(t, nil, capture.IP4(layers.IPProtocolTCP), tcp(443), said(string(number)+strings.Repeat("x", 1200))))
		}
		for want := next + 200; next < want; {
			p, err := s.Next()
			testkit.Check(t, err)
			if p.Data == nil {
				continue
			}
			if got := binary.BigEndian.Uint32(p.Data[16+20+20:]); got != next {
				t.Fatalf("packet %d, want %d", got, next)
			}
			next++
		}
	}
	if st := s.Stats(); st.Dropped != 0 {
		t.Errorf("%d dropped", st.Dropped)
	}
}

// An interface may go down and come up again. One that is gone ends the source.
func TestListenInterfaceGoesDown(t *testing.T) {
	room := wire(t)
	s := listen(t, capture.Options{Interface: near})
	room.IP(t, "link", "set", near, "down")
	for range 3 { // the error of the socket comes once
		p, err := s.Next()
		testkit.Check(t, err)
		if p.Data != nil {
			t.Errorf("a packet of %d bytes", len(p.Data))
		}
	}
	room.IP(t, "link", "set", near, "up")
	send := sender(t, far)
	testkit.Eventually(t, "the wire is back", func() bool {
		i, err := net.InterfaceByName(far)
		return err == nil && i.Flags&net.FlagRunning != 0
	})
	send(frame(t, nil, capture.IP4(layers.IPProtocolTCP), tcp(443), said("up again")))
	send(frame(t, nil, capture.IP4(layers.IPProtocolTCP), tcp(443), said(last)))
	if diff := cmp.Diff([]string{"up again"}, hear(t, s)); diff != "" {
		t.Errorf("heard (-want +got):\n%s", diff)
	}
	room.IP(t, "link", "del", near)
	for {
		p, err := s.Next()
		if err != nil {
			if want := "interface near is gone, behind 2 packets"; err.Error() != want {
				t.Errorf("error %q, want %q", err, want)
			}
			return
		}
		if p.Data != nil {
			t.Fatalf("a packet of %d bytes", len(p.Data))
		}
	}
}

// Time goes on where nothing comes, until the context is done.
func TestListenTicks(t *testing.T) {
	wire(t)
	ctx, cancel := context.WithCancel(t.Context())
	s, err := capture.Listen(ctx, capture.Options{Interface: "lo", Buffer: 1 << 20})
	testkit.Check(t, err)
	defer s.Close()
	for range 2 {
		p, err := s.Next()
		testkit.Check(t, err)
		if p.Data != nil || time.Since(p.Time) > time.Minute {
			t.Errorf("%d bytes of %v, want the time and no packet", len(p.Data), p.Time)
		}
	}
	cancel()
	if _, err := s.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("error %v, want EOF", err)
	}
	testkit.Check(t, s.Close())
	s.Stats() // may come late
}

func TestListenRefuses(t *testing.T) {
	wire(t)
	terabytes := int64(4 << 40)
	for name, test := range map[string]struct {
		options capture.Options
		want    string
	}{
		"no such interface": {capture.Options{Interface: "eth7"}, "there is no interface eth7: take one of any, lo, far, near"},
		"all that is for others": {
			capture.Options{Promiscuous: true}, "to take what is for other machines, name one interface",
		},
		"too many ports": {capture.Options{Ports: make([]uint16, 401)}, "401 ports: a filter takes 400; without any it takes all TCP"},
		"a ring of 4 TB": {capture.Options{Interface: near, Buffer: int(terabytes)}, "listening at near: packet ring of 4194304 MiB: cannot allocate memory: take a smaller buffer"},
	} {
		s, err := capture.Listen(t.Context(), test.options)
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
		} else if err.Error() != test.want {
			t.Errorf("%s: error %q, want %q", name, err, test.want)
		}
	}
}

package capture

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"golang.org/x/net/bpf"
)

// layer returns what the layers are on the wire, the lengths and checksums filled in.
func layer(t testing.TB, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	b := gopacket.NewSerializeBuffer()
	for i, part := range parts {
		if l4, ok := part.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok && i > 0 {
			if network, ok := parts[i-1].(gopacket.NetworkLayer); ok {
				if err := l4.SetNetworkLayerForChecksum(network); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// IP4 is a header between two addresses for documentation, IP6 likewise.
func IP4(p layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{
		Version: 4, TTL: 64, Protocol: p,
		SrcIP: netip.MustParseAddr("192.0.2.1").AsSlice(), DstIP: netip.MustParseAddr("192.0.2.2").AsSlice(),
	}
}

func IP6(p layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{
		Version: 6, HopLimit: 64, NextHeader: p,
		SrcIP: netip.MustParseAddr("2001:db8::1").AsSlice(), DstIP: netip.MustParseAddr("2001:db8::2").AsSlice(),
	}
}

func segment(from, to layers.TCPPort) *layers.TCP {
	return &layers.TCP{SrcPort: from, DstPort: to, SYN: true}
}

// TestFilterPackets runs the part of the filter behind the kernel's own loads, which only a kernel has: those the tests with a network
// namespace run.
func TestFilterPackets(t *testing.T) {
	withOptions := IP4(layers.IPProtocolTCP)
	withOptions.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 1}}
	later := IP4(layers.IPProtocolTCP)
	later.FragOffset, later.Flags = 100, layers.IPv4MoreFragments
	first := IP4(layers.IPProtocolTCP)
	first.Flags = layers.IPv4MoreFragments
	whole := IP4(layers.IPProtocolTCP)
	whole.Flags = layers.IPv4DontFragment
	laterUDP := IP4(layers.IPProtocolUDP)
	laterUDP.FragOffset = 100
	https, mirrors := Options{Ports: []uint16{443, 8443}}, Options{Ports: []uint16{443}, Mirrors: true}
	for name, test := range map[string]struct {
		options Options
		packet  []byte
		want    bool
	}{
		"to a port":               {https, layer(t, whole, segment(1024, 443)), true},
		"from a port":             {https, layer(t, whole, segment(8443, 1024)), true},
		"of other ports":          {https, layer(t, whole, segment(1024, 80)), false},
		"of any port":             {Options{}, layer(t, whole, segment(1024, 80)), true},
		"behind IPv4 options":     {https, layer(t, withOptions, segment(1024, 443)), true},
		"other, behind options":   {https, layer(t, withOptions, segment(1024, 444)), false},
		"first fragment":          {https, layer(t, first, segment(1024, 443)), true},
		"first fragment of other": {https, layer(t, first, segment(1024, 80)), false},
		"later fragment":          {https, layer(t, later, gopacket.Payload("443")), true},
		"UDP":                     {https, layer(t, IP4(layers.IPProtocolUDP), &layers.UDP{SrcPort: 443, DstPort: 443}), false},
		"ICMP":                    {Options{}, layer(t, IP4(layers.IPProtocolICMPv4), &layers.ICMPv4{}), false},
		"IPv6":                    {https, layer(t, IP6(layers.IPProtocolTCP), segment(1024, 443)), true},
		"IPv6, other":             {https, layer(t, IP6(layers.IPProtocolTCP), segment(1024, 80)), false},
		"IPv6, any":               {Options{}, layer(t, IP6(layers.IPProtocolTCP), segment(1024, 80)), true},
		"IPv6 fragment":           {https, layer(t, IP6(layers.IPProtocolIPv6Fragment), gopacket.Payload("\x06234567")), true},
		"IPv6 options":            {https, layer(t, IP6(layers.IPProtocolIPv6Destination), gopacket.Payload("\x2c234567")), true},
		"IPv6 multicast":          {Options{}, layer(t, IP6(layers.IPProtocolIPv6HopByHop), gopacket.Payload("\x3a234567")), false},
		"IPv6, UDP":               {https, layer(t, IP6(layers.IPProtocolUDP), &layers.UDP{SrcPort: 443, DstPort: 443}), false},
		"GRE, not asked for":      {https, layer(t, IP4(layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeERSPAN}), false},
		"GRE":                     {mirrors, layer(t, IP4(layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeERSPAN}), true},
		"GRE in IPv6":             {mirrors, layer(t, IP6(layers.IPProtocolGRE), &layers.GRE{Protocol: layers.EthernetTypeERSPAN}), true},
		"VXLAN":                   {mirrors, layer(t, IP4(layers.IPProtocolUDP), &layers.UDP{SrcPort: 9, DstPort: 4789}, &layers.VXLAN{}), true},
		"VXLAN in IPv6":           {mirrors, layer(t, IP6(layers.IPProtocolUDP), &layers.UDP{SrcPort: 9, DstPort: 8472}, &layers.VXLAN{}), true},
		"VXLAN, a later fragment": {mirrors, layer(t, laterUDP, gopacket.Payload("VXLAN")), true},
		"IP in IP":                {mirrors, layer(t, IP4(layers.IPProtocolIPv4), IP4(layers.IPProtocolTCP), segment(1, 2)), true},
		"IPv6 in IP":              {mirrors, layer(t, IP4(layers.IPProtocolIPv6), IP6(layers.IPProtocolTCP), segment(1, 2)), true},
		"other UDP, with mirrors": {mirrors, layer(t, IP4(layers.IPProtocolUDP), &layers.UDP{SrcPort: 4789, DstPort: 53}), false},
		"other TCP, with mirrors": {mirrors, layer(t, whole, segment(1024, 80)), false},
		"of no IP version":        {mirrors, []byte{0x00, 0, 0, 40, 0, 0, 0, 0, 64, 6}, false},
		"cut in the header":       {https, layer(t, whole, segment(1024, 443))[:12], false},
		"nothing":                 {https, []byte{}, false},
	} {
		vm, err := bpf.NewVM(append([]bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegX}}, packets(test.options)...))
		if err != nil {
			t.Fatal(err)
		}
		got, err := vm.Run(test.packet)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := 0
		if test.want {
			want = DefaultSnap
		}
		if got != want {
			t.Errorf("%s: as many as %d bytes are taken, want %d", name, got, want)
		}
	}
}

// The kernel takes so many instructions and no more; it refuses jumps out of the program.
func TestFilterFits(t *testing.T) {
	ports := make([]uint16, MaxPorts)
	for i := range ports {
		ports[i] = uint16(i + 1)
	}
	program, err := filter(Options{Ports: ports, Mirrors: true})
	if err != nil {
		t.Fatal(err)
	}
	const maximum = 4096 // BPF_MAXINSNS
	if len(program) > maximum {
		t.Errorf("%d instructions, more than the %d that a kernel takes", len(program), maximum)
	}
	t.Logf("%d instructions", len(program))
	if _, err := filter(Options{Ports: append(ports, 443)}); err == nil {
		t.Error("a port too many was no error")
	}
}

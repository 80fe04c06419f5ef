package capture

import (
	"fmt"
	"slices"

	"golang.org/x/net/bpf"
)

// MaxPorts is how many ports a filter can name: the kernel takes 4096 instructions.
const MaxPorts = 400

// EtherTypes and protocol numbers, as IANA has them.
const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	etherVLAN = 0x8100 // 802.1Q
	etherQinQ = 0x88a8 // 802.1ad
	etherOld  = 0x9100 // QinQ before 802.1ad
	etherPPP  = 0x8864 // PPPoE
	etherMPLS = 0x8847

	protoIPv4 = 4
	protoTCP  = 6
	protoUDP  = 17
	protoIPv6 = 41
	protoGRE  = 47

	portVXLAN      = 4789
	portVXLANLinux = 8472 // Linux' own, older than RFC 7348
)

// What the kernel tells of a packet beside its bytes (linux/if_packet.h, linux/if_arp.h).
const (
	packetOutgoing = 4
	typeLoopback   = 772
)

// maxTags is how many VLAN tags are looked behind, beside the one that the kernel takes off.
const maxTags = 2

// filter returns the program that runs on every packet from its network header on, as a packet socket without link layers has it. It
// takes TCP of the ports whole, later fragments of TCP and TCP behind IPv6 extension headers (their ports are not looked for), with
// mirrors also what may carry one. A packet that the loopback interface sends comes back at once as one that it receives, so the
// first is left. The program stands on the kernel's ancillary loads, so that it fits every link layer.
func filter(o Options) ([]bpf.RawInstruction, error) {
	if len(o.Ports) > MaxPorts {
		return nil, fmt.Errorf("%d ports: a filter takes %d; without any it takes all TCP", len(o.Ports), MaxPorts)
	}
	program := []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: packetOutgoing, SkipTrue: 3},
		bpf.LoadExtension{Num: bpf.ExtLinkLayerType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: typeLoopback, SkipTrue: 1},
		bpf.RetConstant{Val: 0},
		bpf.LoadExtension{Num: bpf.ExtProto},
	}
	return bpf.Assemble(append(append(program, tags(o)...), packets(o)...))
}

// tags finds the IP header behind VLAN tags, the EtherType being in A: X is its offset where the program goes on behind this part.
// What is no IP ends the program.
func tags(o Options) []bpf.Instruction {
	at := func(offset int) []bpf.Instruction { // the jump is filled in below
		return []bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegX, Val: uint32(offset)}, bpf.Jump{}}
	}
	// Where a device has no offload for tags, the kernel names the tag of what it sends and yet begins with the IP header.
	unknown := at(0)
	var part []bpf.Instruction
	for n := maxTags; n >= 0; n-- {
		inner := part // how it goes on behind one more tag
		if n == 0 {
			unknown = leave()
		}
		other := unknown
		if o.Mirrors {
			other = when(etherMPLS, take(o), when(etherPPP, take(o), unknown))
		}
		if inner != nil {
			// A tag is 2 bytes of its own and the EtherType of what follows.
			deeper := append([]bpf.Instruction{bpf.LoadAbsolute{Off: uint32(4*n + 2), Size: 2}}, inner...)
			other = when(etherVLAN, deeper, when(etherQinQ, deeper, when(etherOld, deeper, other)))
		}
		part = when(etherIPv4, at(4*n), when(etherIPv6, at(4*n), other))
	}
	for i, in := range part {
		if j, ok := in.(bpf.Jump); ok && j.Skip == 0 {
			part[i] = bpf.Jump{Skip: uint32(len(part) - i - 1)}
		}
	}
	return part
}

// packets judges the IP packet at X; every way through it ends the program.
func packets(o Options) []bpf.Instruction {
	ports := tcp(o)
	v6 := network6(o, ports)
	v4 := network4(o, ports)
	return append([]bpf.Instruction{
		bpf.LoadIndirect{Off: 0, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4},
	}, when(4, v4, when(6, v6, leave()))...)
}

// network4 judges an IPv4 packet.
func network4(o Options, ports []bpf.Instruction) []bpf.Instruction {
	const fragment = 0x1fff      // the offset, in the half-word with the flags
	header := []bpf.Instruction{ // X goes to what follows the header, whose length is in its first byte, in words
		bpf.LoadIndirect{Off: 0, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2},
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.TAX{},
	}
	whole := func(body []bpf.Instruction) []bpf.Instruction {
		part := []bpf.Instruction{
			bpf.LoadIndirect{Off: 6, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: fragment, SkipTrue: 1},
			bpf.RetConstant{Val: snap(o)},
		}
		return append(append(part, header...), body...)
	}
	rest := leave()
	if o.Mirrors {
		rest = when(protoGRE, take(o), when(protoIPv4, take(o), when(protoIPv6, take(o), when(protoUDP, whole(udp(o)), leave()))))
	}
	return append([]bpf.Instruction{bpf.LoadIndirect{Off: 9, Size: 1}}, when(protoTCP, whole(ports), rest)...)
}

// network6 judges an IPv6 packet.
func network6(o Options, ports []bpf.Instruction) []bpf.Instruction {
	header := []bpf.Instruction{bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 40}, bpf.TAX{}}
	rest := leave()
	if o.Mirrors {
		rest = when(protoGRE, take(o), when(protoIPv4, take(o), when(protoIPv6, take(o),
			when(protoUDP, append(slices.Clip(header), udp(o)...), leave()))))
	}
	extensions := []uint32{0, 43, 44, 51, 60} // RFC 8200, section 4: hop by hop, routing, fragment, authentication, options
	behind := leave()
	followers := append([]uint32{protoTCP}, extensions...)
	if o.Mirrors {
		followers = append(followers, protoGRE, protoIPv4, protoIPv6, protoUDP)
	}
	for _, follower := range followers {
		behind = when(follower, take(o), behind)
	}
	behind = append([]bpf.Instruction{bpf.LoadIndirect{Off: 40, Size: 1}}, behind...) // an extension begins with what follows it
	for _, extension := range extensions {
		rest = when(extension, behind, rest)
	}
	return append([]bpf.Instruction{bpf.LoadIndirect{Off: 6, Size: 1}},
		when(protoTCP, append(slices.Clip(header), ports...), rest)...)
}

// tcp judges the ports of the TCP header at X.
func tcp(o Options) []bpf.Instruction {
	if len(o.Ports) == 0 {
		return take(o)
	}
	part := []bpf.Instruction{}
	for _, side := range []uint32{0, 2} {
		part = append(part, bpf.LoadIndirect{Off: side, Size: 2})
		for _, port := range o.Ports {
			part = append(part, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(port), SkipTrue: 1}, bpf.RetConstant{Val: snap(o)})
		}
	}
	return append(part, leave()...)
}

// udp takes VXLAN, at X.
func udp(o Options) []bpf.Instruction {
	return append([]bpf.Instruction{bpf.LoadIndirect{Off: 2, Size: 2}},
		when(portVXLAN, take(o), when(portVXLANLinux, take(o), leave()))...)
}

// when goes to then if A is the value, otherwise to other. Both end the program, or jump.
func when(value uint32, then, other []bpf.Instruction) []bpf.Instruction {
	part := []bpf.Instruction{
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: value, SkipTrue: 1}, // a condition reaches 255 instructions only
		bpf.Jump{Skip: uint32(len(then))},
	}
	return append(append(part, then...), other...)
}

func take(o Options) []bpf.Instruction { return []bpf.Instruction{bpf.RetConstant{Val: snap(o)}} }

func leave() []bpf.Instruction { return []bpf.Instruction{bpf.RetConstant{Val: 0}} }

func snap(o Options) uint32 {
	if o.Snap <= 0 {
		return DefaultSnap
	}
	return uint32(min(o.Snap, DefaultSnap))
}

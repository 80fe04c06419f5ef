package capture

// Options say what Listen takes from an interface.
type Options struct {
	// Interface is its name. "any" or empty: all interfaces, also those that come later.
	Interface string
	// Ports are the TCP ports to take, of either side. None: all TCP.
	Ports []uint16
	// Mirrors lets through what carries a mirror to this machine: GRE (ERSPAN with it), VXLAN and IP in IP. The filter does not look
	// inside, so the ports do not bound it.
	Mirrors bool
	// Promiscuous takes frames for other machines too, as a mirror port's are. It needs a named Interface.
	Promiscuous bool
	// Snap is how many bytes of a packet are kept; 0: DefaultSnap.
	Snap int
	// Buffer is the ring that the kernel fills, in bytes; 0: DefaultBuffer. It is memory from the start.
	Buffer int
}

const (
	// DefaultSnap is libpcap's longest packet, in bytes: receive offload joins segments to packets of 64 KiB and more.
	DefaultSnap = 256 << 10
	// DefaultBuffer holds a second of 10,000 TLS conns/s, in bytes.
	DefaultBuffer = 64 << 20
)

package capture

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// ringBlock is a block of the ring, in bytes. The longest packet must fit: 512 KiB with BIG TCP, of which Snap keeps half.
	ringBlock = 512 << 10
	// ringRetire is how long the kernel keeps a block that is not full. Each costs a block, so that many of them are how long a reader
	// may be away from a quiet interface.
	ringRetire = 100 * time.Millisecond
	// ringFrame is of no use with TPACKET_V3, and must be right all the same: a multiple of the alignment, longer than the headers.
	ringFrame = 2048
	// cooked is the length of a Linux cooked header, in bytes: LINKTYPE_LINUX_SLL. The kernel leaves as much before a packet without
	// its link layer, and the reserve keeps it so.
	cooked = 16
	// addressAt is where the packet's sockaddr_ll is, behind its header, in bytes.
	addressAt = (unix.SizeofTpacket3Hdr + unix.TPACKET_ALIGNMENT - 1) &^ (unix.TPACKET_ALIGNMENT - 1)
)

// ring is a packet socket with TPACKET_V3: the kernel fills blocks of shared memory with packets, and gets them back when they are
// read. A packet comes without its link layer, which differs between interfaces and which nobody needs; its cooked header is written
// into the room before it.
//
// gopacket/afpacket does not serve: it hides the protocol that a packet without link layer has, cannot take the error off the socket
// of an interface that went down (poll then returns at once for ever), and reads the kernel's marks by plain loads.
type ring struct {
	mem    []byte
	block  int            // that is read, or comes next
	held   bool           // it is ours
	left   uint32         // packets of it that were not read
	packet unsafe.Pointer // the next of them

	mu    sync.Mutex // of what follows
	fd    int
	drops uint64
}

// openRing opens a ring of that many bytes on an interface; 0 is all of them. The filter stands before the first packet comes.
func openRing(index, size int, filter *unix.SockFprog) (*ring, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0) // of no protocol: nothing comes
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	r := &ring{fd: fd}
	if err := r.setUp(index, size, filter); err != nil {
		_ = r.close() // the error is the one before
		return nil, err
	}
	return r, nil
}

func (r *ring) setUp(index, size int, filter *unix.SockFprog) error {
	if err := unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, filter); err != nil {
		return fmt.Errorf("packet filter: %w", err)
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V3); err != nil {
		return fmt.Errorf("packet ring: %w", err)
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_RESERVE, cooked); err != nil {
		return fmt.Errorf("packet ring: %w", err)
	}
	blocks := max(size/ringBlock, 2)
	req := unix.TpacketReq3{
		Block_size: ringBlock, Block_nr: uint32(blocks), Frame_size: ringFrame, Frame_nr: uint32(blocks * (ringBlock / ringFrame)),
		Retire_blk_tov: uint32(ringRetire.Milliseconds()),
	}
	if err := unix.SetsockoptTpacketReq3(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		return fmt.Errorf("packet ring of %d MiB: %w", blocks*ringBlock>>20, err)
	}
	var err error
	if r.mem, err = unix.Mmap(r.fd, 0, blocks*ringBlock, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("packet ring of %d MiB: %w", blocks*ringBlock>>20, err)
	}
	all := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL))
	if err := unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	return nil
}

// promiscuous has the interface take what is for others too, until the socket is closed.
func (r *ring) promiscuous(index int) error {
	member := unix.PacketMreq{Ifindex: int32(index), Type: unix.PACKET_MR_PROMISC}
	return unix.SetsockoptPacketMreq(r.fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &member)
}

// header is the header of the block that is read or comes next.
func (r *ring) header() *unix.TpacketHdrV1 {
	desc := (*unix.TpacketBlockDesc)(unsafe.Pointer(&r.mem[r.block*ringBlock]))
	return (*unix.TpacketHdrV1)(unsafe.Pointer(&desc.Hdr))
}

// next returns the next packet with a cooked header, in the ring: it is good until the next call. It returns no packet when none is
// there yet.
func (r *ring) next() (Packet, bool) {
	for {
		if !r.held {
			h := r.header()
			if atomic.LoadUint32(&h.Block_status)&unix.TP_STATUS_USER == 0 {
				return Packet{}, false
			}
			r.held, r.left = true, h.Num_pkts
			r.packet = unsafe.Pointer(&r.mem[r.block*ringBlock+int(h.Offset_to_first_pkt)])
		}
		if r.left > 0 {
			return r.take(), true
		}
		r.release()
	}
}

// release gives the block back to the kernel.
func (r *ring) release() {
	atomic.StoreUint32(&r.header().Block_status, unix.TP_STATUS_KERNEL)
	r.held = false
	r.block = (r.block + 1) % (len(r.mem) / ringBlock)
}

// take takes the next packet of the block.
func (r *ring) take() Packet {
	h := (*unix.Tpacket3Hdr)(r.packet)
	from := (*unix.RawSockaddrLinklayer)(unsafe.Add(r.packet, addressAt))
	data := unsafe.Slice((*byte)(unsafe.Add(r.packet, int(h.Mac)-cooked)), cooked+int(h.Snaplen))
	data = cook(data, from)
	length := len(data) + int(h.Len) - int(h.Snaplen)
	p := Packet{Time: time.Unix(int64(h.Sec), int64(h.Nsec)), Data: data, Length: length, LinkType: linkCooked}
	r.left--
	if r.left > 0 {
		r.packet = unsafe.Add(r.packet, h.Next_offset)
	}
	return p
}

// wait returns when the next block may be there, or after the timeout. Its error is the socket's, which it takes off.
func (r *ring) wait(timeout time.Duration) error {
	poll := []unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}}
	if _, err := unix.Poll(poll, int(timeout.Milliseconds())); err != nil && err != unix.EINTR {
		return fmt.Errorf("packet socket: %w", err)
	}
	if poll[0].Revents&unix.POLLERR != 0 {
		if code, err := unix.GetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && code != 0 {
			return unix.Errno(code)
		}
	}
	return nil
}

// dropped counts the packets that the kernel had no room for.
func (r *ring) dropped() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd >= 0 {
		// The kernel begins anew with every reading. It refuses only what is no packet socket.
		if st, err := unix.GetsockoptTpacketStatsV3(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
			r.drops += uint64(st.Drops)
		}
	}
	return r.drops
}

func (r *ring) close() error {
	r.dropped()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fd < 0 {
		return nil
	}
	if r.mem != nil {
		_ = unix.Munmap(r.mem) // it was mapped above
		r.mem = nil
	}
	err := unix.Close(r.fd)
	r.fd = -1
	return err
}

// cook writes a cooked header before the packet (LINKTYPE_LINUX_SLL): all big-endian. data has the room for it before the packet.
// VLAN tags go: the kernel takes off the outer one of what comes, and says of the others what its version makes of them.
func cook(data []byte, from *unix.RawSockaddrLinklayer) []byte {
	protocol, tags := untag(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, from.Protocol)), data[cooked:])
	data = data[tags:]
	binary.BigEndian.PutUint16(data, uint16(from.Pkttype))
	binary.BigEndian.PutUint16(data[2:], from.Hatype)
	binary.BigEndian.PutUint16(data[4:], uint16(from.Halen))
	copy(data[6:14], from.Addr[:])
	binary.BigEndian.PutUint16(data[14:], protocol)
	return data
}

// untag returns what stands behind the tags that a packet begins with, and the bytes of them. The protocol that the kernel names is
// no help: of a packet that came with two tags it is the second's until Linux 6.10 and what is behind it from 6.11 on, and what is
// sent through a device without offload begins with the IP header although a tag is named. So it counts what the bytes can be.
func untag(protocol uint16, data []byte) (uint16, int) {
	at := 0
	for range maxTags {
		if len(data) < at+8 {
			break
		}
		inner := binary.BigEndian.Uint16(data[at+2:])
		if !begins(inner, data[at+4:]) {
			break
		}
		protocol, at = inner, at+4
	}
	if isTag(protocol) { // no tag is here
		switch {
		case begins(etherIPv4, data[at:]):
			protocol = etherIPv4
		case begins(etherIPv6, data[at:]):
			protocol = etherIPv6
		}
	}
	return protocol, at
}

// begins reports whether the data may be what the EtherType says.
func begins(protocol uint16, data []byte) bool {
	switch protocol {
	case etherIPv4:
		const least = 20
		return len(data) >= least && data[0]>>4 == 4 && binary.BigEndian.Uint16(data[2:]) >= least
	case etherIPv6:
		return len(data) >= 40 && data[0]>>4 == 6
	case etherPPP, etherMPLS:
		return true
	}
	return isTag(protocol) && len(data) >= 4
}

func isTag(protocol uint16) bool {
	return protocol == etherVLAN || protocol == etherQinQ || protocol == etherOld
}

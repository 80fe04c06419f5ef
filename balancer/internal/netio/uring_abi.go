//go:build linux

package netio

import (
	"encoding/binary"
	"unsafe"
)

// What <linux/io_uring.h> says, as far as it is used here. Names without their IORING_ prefix; the kernel version that
// brought a thing stands behind it where that is later than 5.11.

// sqe is a submission queue entry, for operations without 128-byte entries.
type sqe struct {
	opcode   uint8
	flags    uint8
	ioprio   uint16
	fd       int32
	off      uint64 // also: length of a sockaddr
	addr     uint64
	length   uint32
	opFlags  uint32
	data     uint64
	bufGroup uint16
	_        uint16
	_        uint32
	_        [2]uint64
}

// cqe is a completion queue entry.
type cqe struct {
	data  uint64
	res   int32
	flags uint32
}

// ringParams is struct io_uring_params.
type ringParams struct {
	sqEntries, cqEntries uint32
	flags                uint32
	_                    [2]uint32
	features             uint32
	_                    [4]uint32
	sq                   struct {
		head, tail, mask, entries, flags, dropped, array, _ uint32
		_                                                   uint64
	}
	cq struct {
		head, tail, mask, entries, overflow, cqes, flags, _ uint32
		_                                                   uint64
	}
}

// Opcodes.
const (
	opPollAdd     = 6
	opConnect     = 16
	opAsyncCancel = 14
	opClose       = 19
	opSend        = 26
	opRecv        = 27
)

// Flags of an sqe.
const (
	sqeLink         = 1 << 2
	sqeBufferSelect = 1 << 5
	sqeSkipSuccess  = 1 << 6 // 5.17
)

// recvPollFirst in ioprio of a receive waits before it tries (5.19).
const recvPollFirst = 1 << 0

// Flags of a cqe.
const (
	cqeBuffer   = 1 << 0 // the upper 16 bits name a provided buffer
	cqeNonEmpty = 1 << 2 // there is more to receive
	cqeBufShift = 16
)

// Flags of io_uring_setup(2).
const (
	setupCQSize       = 1 << 3
	setupClamp        = 1 << 4
	setupDisabled     = 1 << 6
	setupSubmitAll    = 1 << 7  // 5.18
	setupCoopTaskrun  = 1 << 8  // 5.19
	setupSingleIssuer = 1 << 12 // 6.0
	setupDeferTaskrun = 1 << 13 // 6.1
)

// Features of io_uring_setup(2).
const (
	featSingleMmap   = 1 << 0
	featNoDrop       = 1 << 1
	featSubmitStable = 1 << 2
	featFastPoll     = 1 << 5
	featPoll32       = 1 << 6
	featExtArg       = 1 << 8
	featSkipSuccess  = 1 << 11 // 5.17
	featNoIowait     = 1 << 17 // 6.15
)

// Flags of io_uring_enter(2).
const (
	enterGetEvents  = 1 << 0
	enterExtArg     = 1 << 3
	enterRegistered = 1 << 4 // 5.18
	enterNoIowait   = 1 << 7 // 6.15
)

// eventsOff in the completion queue's flags keeps the kernel from counting up the ring's eventfd (5.8).
const eventsOff = 1 << 0

// Operations of io_uring_register(2).
const (
	registerEventFd   = 4 // 5.2
	registerProbe     = 8
	registerEnable    = 12
	registerRingFds   = 20 // 5.18
	unregisterRingFds = 21
	registerBufRing   = 22 // 5.19
	unregisterBufRing = 23
)

// Offsets of mmap(2).
const (
	offRings   = 0
	offEntries = 0x10000000
)

// enterArg is struct io_uring_getevents_arg.
type enterArg struct {
	sigmask     uint64
	sigmaskSize uint32
	minWait     uint32 // microseconds, 6.12
	timeout     uint64 // *kernelTimespec
}

// kernelTimespec is struct __kernel_timespec.
type kernelTimespec struct{ sec, nsec int64 }

// ringUpdate is struct io_uring_rsrc_update.
type ringUpdate struct {
	offset, _ uint32
	data      uint64
}

// bufReg is struct io_uring_buf_reg.
type bufReg struct {
	addr    uint64
	entries uint32
	group   uint16
	_       uint16
	_       [3]uint64
}

// providedBuf is struct io_uring_buf. The tail of the ring lies in the reserved field of its first entry.
type providedBuf struct {
	addr   uint64
	length uint32
	id     uint16
	tail   uint16
}

// probeOps is how many opcodes a probe asks for.
const probeOps = 64

// probeResult is struct io_uring_probe.
type probeResult struct {
	last, length uint8
	_            uint16
	_            [3]uint32
	ops          [probeOps]struct {
		op, _ uint8
		flags uint16 // 1: supported
		_     uint32
	}
}

// The kernel's sizes; a mistake above does not compile.
var (
	_ [64]byte  = [unsafe.Sizeof(sqe{})]byte{}
	_ [16]byte  = [unsafe.Sizeof(cqe{})]byte{}
	_ [120]byte = [unsafe.Sizeof(ringParams{})]byte{}
	_ [24]byte  = [unsafe.Sizeof(enterArg{})]byte{}
	_ [16]byte  = [unsafe.Sizeof(providedBuf{})]byte{}
	_ [40]byte  = [unsafe.Sizeof(bufReg{})]byte{}
	_ [16]byte  = [unsafe.Sizeof(probeResult{}) - probeOps*8]byte{}
)

// pollEvents is a mask of events as an entry has it: its halves are swapped on big-endian machines.
func pollEvents(mask uint32) uint32 {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return mask
	}
	return mask<<16 | mask>>16
}

//go:build linux

package netio

// What user data says: the operation, the slot's generation and the slot.
//
//	bits 56-63 operation   32-55 generation   0-31 slot (or a listener's descriptor)
const (
	genShift    = 32
	genMask     = 1<<24 - 1
	ringOpShift = 56
)

// ringOp is the operation that user data names.
type ringOp uint8

const (
	ringNothing ringOp = iota // nobody waits for its completion
	ringRecv
	ringInput
	ringRoom
	ringConnect
	ringFirst // the send behind a connect
	ringDrop  // a connection is ended, the socket kept
	ringAccept
	ringWake
)

func userData(op ringOp, gen uint32, s Sock) uint64 {
	return uint64(op)<<ringOpShift | uint64(gen&genMask)<<genShift | uint64(s)
}

// has is the flag that says that the kernel has op, one of ringRecv to ringDrop: they stand in the order of the flags.
func (op ringOp) has() slotFlags { return hasRecv << (op - ringRecv) }

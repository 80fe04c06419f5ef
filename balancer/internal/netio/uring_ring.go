//go:build linux

package netio

import (
	"fmt"
	"math"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ring is a pair of queues shared with the kernel. Its memory is the kernel's or lies in mappings: nothing of it is in
// the Go heap.
//
// What is submitted and what has completed is the calling thread's business alone: with deferred work (FeatureDefer)
// the kernel enforces that, and completes operations in enter only.
type ring struct {
	fd       int32
	enterFd  int32 // what enter names it by: fd, or its registered index
	setup    uint32
	features Features
	maps     [][]byte

	// Submission. Entries from head to tail are filled and not submitted; late are those behind them, for which there
	// was no room.
	sqes       []sqe
	addrs      []sockaddr // by entry: the address it points to, if it does
	kernelHead *uint32
	kernelTail *uint32
	head, tail uint32
	late       []lateEntry

	// Completion. Entries from cqHead on that are before cqTail have not been taken; those before cqHead belong to the
	// kernel after the next enter.
	cqes         []cqe
	kernelCQHead *uint32
	cqTail       *uint32
	cqFlags      *uint32
	cqHead       uint32

	arg     *enterArg
	timeout *kernelTimespec
	calls   uint64 // of enter
}

// lateEntry waits for room in the submission queue.
type lateEntry struct {
	sqe
	addr sockaddr
}

// ringSize is what a ring has room for.
type ringSize struct {
	entries    uint32 // of the submission queue
	completion uint32 // entries of the completion queue, more than those
}

// setup is a way to make a ring.
type setup struct {
	is    Features // not tried without
	flags uint32
}

// setups are all of them, best first. A kernel refuses what it does not know with EINVAL.
func setups() [3]setup {
	return [...]setup{
		{FeatureDefer, setupSingleIssuer | setupDeferTaskrun | setupDisabled | setupSubmitAll},
		{FeatureCoop, setupCoopTaskrun | setupSubmitAll},
		{0, 0},
	}
}

// openRing makes a ring that uses no features but those allowed.
func openRing(size ringSize, allowed Features) (*ring, error) {
	r := &ring{fd: -1}
	var p ringParams
	for _, s := range setups() {
		if s.is&^allowed != 0 {
			continue
		}
		p = ringParams{flags: s.flags | setupCQSize | setupClamp, cqEntries: size.completion}
		fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, uintptr(size.entries), uintptr(unsafe.Pointer(&p)), 0)
		if errno == 0 {
			r.fd, r.enterFd, r.setup = int32(fd), int32(fd), p.flags
			break
		}
		if errno != unix.EINVAL {
			return nil, fmt.Errorf("io_uring_setup: %w", errno)
		}
	}
	if r.fd < 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", unix.EINVAL)
	}
	r.features = featuresOf(&p) & allowed
	err := r.mapQueues(&p)
	if err == nil && r.features&FeatureBase == 0 {
		err = fmt.Errorf("io_uring: features %#x: %w", p.features, unix.ENOTSUP)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// mapQueues maps the queues and the memory that entries point to.
func (r *ring) mapQueues(p *ringParams) error {
	size := max(p.sq.array+4*p.sqEntries, p.cq.cqes+p.cqEntries*uint32(unsafe.Sizeof(cqe{})))
	queues, err := r.mmap(r.fd, offRings, int(size))
	if err != nil {
		return err
	}
	entries, err := r.mmap(r.fd, offEntries, int(p.sqEntries)*int(unsafe.Sizeof(sqe{})))
	if err != nil {
		return err
	}
	const args = int(unsafe.Sizeof(enterArg{}) + unsafe.Sizeof(kernelTimespec{}))
	own, err := r.mmap(-1, 0, args+int(p.sqEntries)*sockaddrLen)
	if err != nil {
		return err
	}
	word := func(at uint32) *uint32 { return (*uint32)(unsafe.Pointer(&queues[at])) }
	r.kernelHead, r.kernelTail = word(p.sq.head), word(p.sq.tail)
	r.kernelCQHead, r.cqTail, r.cqFlags = word(p.cq.head), word(p.cq.tail), word(p.cq.flags)
	r.sqes = unsafe.Slice((*sqe)(unsafe.Pointer(&entries[0])), p.sqEntries)
	r.cqes = unsafe.Slice((*cqe)(unsafe.Pointer(&queues[p.cq.cqes])), p.cqEntries)
	r.arg = (*enterArg)(unsafe.Pointer(&own[0]))
	r.timeout = (*kernelTimespec)(unsafe.Pointer(&own[unsafe.Sizeof(enterArg{})]))
	r.addrs = unsafe.Slice((*sockaddr)(unsafe.Pointer(&own[args])), p.sqEntries)
	r.arg.timeout = address(unsafe.Pointer(r.timeout))
	for i, place := range unsafe.Slice(word(p.sq.array), p.sqEntries) {
		_ = place
		*word(p.sq.array + 4*uint32(i)) = uint32(i) // entry i is always at place i
	}
	return nil
}

func (r *ring) mmap(fd int32, offset int64, size int) ([]byte, error) {
	flags := unix.MAP_SHARED | unix.MAP_POPULATE
	if fd < 0 {
		flags = unix.MAP_PRIVATE | unix.MAP_ANON
	}
	b, err := unix.Mmap(int(fd), offset, size, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		return nil, fmt.Errorf("io_uring: mmap of %d bytes: %w", size, err)
	}
	r.maps = append(r.maps, b)
	return b, nil
}

// address is a pointer to memory outside the Go heap as the kernel reads it.
func address(p unsafe.Pointer) uint64 { return uint64(uintptr(p)) }

// enable makes the ring the calling thread's, which must be locked.
func (r *ring) enable() error {
	if r.setup&setupDisabled != 0 {
		if _, errno := r.register(registerEnable, nil, 0); errno != 0 {
			return fmt.Errorf("io_uring: enabling the ring: %w", errno)
		}
	}
	if r.features&FeatureRegistered != 0 {
		// Spares the look-up of the descriptor in every call.
		up := ringUpdate{offset: math.MaxUint32, data: uint64(r.fd)}
		if n, errno := r.register(registerRingFds, unsafe.Pointer(&up), 1); errno == 0 && n == 1 {
			r.enterFd = int32(up.offset)
		} else {
			r.features &^= FeatureRegistered // the thread has none left: the descriptor does
		}
	}
	return nil
}

// tell makes an eventfd, the caller's, that the kernel counts up when there is something to complete while telling.
func (r *ring) tell() (fd int32, err error) {
	r.telling(false)
	n, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("eventfd: %w", err)
	}
	fd = int32(n)
	if _, errno := r.register(registerEventFd, unsafe.Pointer(&fd), 1); errno != 0 {
		sysClose(fd)
		return -1, fmt.Errorf("io_uring: registering an eventfd: %w", errno)
	}
	return fd, nil
}

func (r *ring) telling(on bool) {
	if on {
		atomic.StoreUint32(r.cqFlags, 0)
	} else {
		atomic.StoreUint32(r.cqFlags, eventsOff)
	}
}

// register is io_uring_register(2). It may sleep.
func (r *ring) register(op uintptr, arg unsafe.Pointer, n uintptr) (int, syscall.Errno) {
	v, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), op, uintptr(arg), n, 0, 0)
	return int(v), errno
}

// close releases the ring; the thread that has enabled it, if there is one, calls. No operation may be in flight that
// points to memory of ours.
func (r *ring) close() {
	if r.enterFd != r.fd {
		up := ringUpdate{offset: uint32(r.enterFd)}
		_, _ = r.register(unregisterRingFds, unsafe.Pointer(&up), 1) // another thread: goes with the owner
	}
	for _, b := range r.maps {
		_ = unix.Munmap(b) // a mapping of ours: cannot fail
	}
	r.maps = nil
	sysClose(r.fd)
}

// room makes room for n entries, and reports whether there is.
func (r *ring) room(n uint32) bool {
	if r.tail-r.head+n > uint32(len(r.sqes)) && len(r.late) == 0 {
		r.submit()
	}
	return r.tail-r.head+n <= uint32(len(r.sqes)) && len(r.late) == 0
}

// add fills an entry. The address is for those that point to one.
func (r *ring) add(e sqe) *sockaddr {
	if r.room(1) {
		return r.fill(e)
	}
	return r.postpone(e)
}

// addLinked fills two entries, of which the second begins when the first has succeeded. They are never submitted apart:
// the kernel would take the first for a chain of its own. The address is the first's.
func (r *ring) addLinked(first, second sqe) *sockaddr {
	first.flags |= sqeLink
	if r.room(2) {
		sa := r.fill(first)
		r.fill(second)
		return sa
	}
	r.postpone(first)
	r.postpone(second)
	return &r.late[len(r.late)-2].addr
}

// fill puts e at the end of the queue, which has room.
func (r *ring) fill(e sqe) *sockaddr {
	i := r.tail & uint32(len(r.sqes)-1)
	r.tail++
	r.sqes[i] = e
	if e.opcode == opConnect {
		r.sqes[i].addr = address(unsafe.Pointer(&r.addrs[i]))
	}
	return &r.addrs[i]
}

// postpone puts e behind the queue. The address is valid until the next call.
func (r *ring) postpone(e sqe) *sockaddr {
	r.late = append(r.late, lateEntry{sqe: e})
	return &r.late[len(r.late)-1].addr
}

// addLate moves entries that came late into the queue, as far as there is room.
func (r *ring) addLate() {
	n := 0
	for n < len(r.late) {
		chain := 1 // entries that are linked are submitted together
		for r.late[n+chain-1].flags&sqeLink != 0 {
			chain++
		}
		if r.tail-r.head+uint32(chain) > uint32(len(r.sqes)) {
			break
		}
		for ; chain > 0; chain-- {
			*r.fill(r.late[n].sqe) = r.late[n].addr
			n++
		}
	}
	r.late = append(r.late[:0], r.late[n:]...)
}

// publish shows the kernel what was filled and what was taken.
func (r *ring) publish() {
	if len(r.late) > 0 {
		r.addLate()
	}
	atomic.StoreUint32(r.kernelTail, r.tail)
	atomic.StoreUint32(r.kernelCQHead, r.cqHead)
}

// submit hands what was filled to the kernel. Nothing completes by it with deferred work. What the kernel does not take
// now stays in the queue and goes with the next call, so that its errno says nothing.
func (r *ring) submit() { _ = r.enter(0) }

// poll submits and lets complete what can.
func (r *ring) poll() syscall.Errno { return r.enter(enterGetEvents) }

// enter does not wait, so it is made raw, like the calls of sys.go.
func (r *ring) enter(flags uintptr) syscall.Errno {
	r.publish()
	r.calls++
	if r.features&FeatureRegistered != 0 {
		flags |= enterRegistered
	}
	_, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.enterFd), uintptr(r.tail-r.head), 0, flags, 0, 0)
	r.head = atomic.LoadUint32(r.kernelHead)
	return errno
}

// wait is poll, but lasts until something has completed, at most for left.
func (r *ring) wait(left time.Duration) syscall.Errno {
	r.publish()
	r.calls++
	flags := uintptr(enterGetEvents | enterExtArg)
	if r.features&FeatureRegistered != 0 {
		flags |= enterRegistered
	}
	if r.features&FeatureNoIowait != 0 {
		flags |= enterNoIowait
	}
	r.timeout.sec, r.timeout.nsec = int64(left/time.Second), int64(left%time.Second)
	_, _, errno := unix.RawSyscall6(unix.SYS_IO_URING_ENTER, uintptr(r.enterFd), uintptr(r.tail-r.head), 1, flags,
		uintptr(unsafe.Pointer(r.arg)), unsafe.Sizeof(*r.arg))
	r.head = atomic.LoadUint32(r.kernelHead)
	return errno
}

// end is the end of what has completed.
func (r *ring) end() uint32 { return atomic.LoadUint32(r.cqTail) }

// at is the completion number i.
func (r *ring) at(i uint32) *cqe { return &r.cqes[i&uint32(len(r.cqes)-1)] }

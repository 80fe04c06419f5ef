//go:build linux

package sock

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxEvents bounds what one wait returns: enough to amortise the call, few enough that what is due meanwhile is not
// much late.
const maxEvents = 128

// Event is what became possible on a conn.
type Event struct {
	Token    uint64
	Readable bool // there is something to read: bytes, the end, or an error
	Ended    bool // the end, or an error, stands behind what is to be read
	Writable bool
}

// Poller is an epoll set. Its methods are called by one goroutine, but for Wake.
type Poller struct {
	fd     int
	wake   int
	raw    [maxEvents]unix.EpollEvent
	events [maxEvents]Event
	coarse bool // the kernel has no epoll_pwait2, and waits by whole milliseconds
}

// endEvents say that the other side sends no more.
const endEvents = unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR

// wakeToken is the eventfd's; conns have others.
const wakeToken = ^uint64(0)

// NewPoller returns an empty set.
func NewPoller() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("create epoll: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create eventfd: %w", err), unix.Close(fd))
	}
	p := &Poller{fd: fd, wake: wake}
	if err := p.control(unix.EPOLL_CTL_ADD, wake, wakeToken, unix.EPOLLIN); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Close gives the set back. What is in it stays open.
func (p *Poller) Close() error { return errors.Join(unix.Close(p.wake), unix.Close(p.fd)) }

const (
	readEvents = unix.EPOLLIN | unix.EPOLLRDHUP | unix.EPOLLET
	bothEvents = readEvents | unix.EPOLLOUT
)

// Add puts a conn into the set until it is closed: for reading, and if both is true for writing. Its events carry the
// token, which is not the greatest uint64.
func (p *Poller) Add(fd int, token uint64, both bool) error {
	events := uint32(readEvents)
	if both {
		events = bothEvents
	}
	return p.control(unix.EPOLL_CTL_ADD, fd, token, events)
}

// Both has a conn that is in the set for reading be in it for writing too.
func (p *Poller) Both(fd int, token uint64) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, token, bothEvents)
}

func (p *Poller) control(op, fd int, token uint64, events uint32) error {
	e := unix.EpollEvent{Events: events, Fd: int32(token), Pad: int32(token >> 32)} // halves of the token
	if err := unix.EpollCtl(p.fd, op, fd, &e); err != nil {
		return fmt.Errorf("add to epoll: %w", err)
	}
	return nil
}

// Wait returns what became possible, at the latest after the timeout (0: at once; below 0: no limit), earlier and with
// nothing after Wake. The slice is valid until the next call.
func (p *Poller) Wait(timeout time.Duration) ([]Event, error) {
	n, err := p.wait(timeout)
	if err == unix.EINTR {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("wait for epoll: %w", err)
	}
	out := p.events[:0]
	for i := range p.raw[:n] {
		e := &p.raw[i]
		token := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
		if token == wakeToken {
			var count [8]byte
			_, _ = unix.Read(p.wake, count[:]) // it is there, and its value says nothing
			continue
		}
		out = append(out, Event{
			Token:    token,
			Readable: e.Events&(unix.EPOLLIN|endEvents) != 0,
			Ended:    e.Events&endEvents != 0,
			Writable: e.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0,
		})
	}
	return out, nil
}

func (p *Poller) wait(timeout time.Duration) (int, error) {
	if timeout > 0 && !p.coarse {
		ts := unix.NsecToTimespec(timeout.Nanoseconds())
		n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.raw[0])), maxEvents,
			uintptr(unsafe.Pointer(&ts)), 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.ENOSYS: // before Linux 5.11
			p.coarse = true
		default:
			return 0, errno
		}
	}
	ms := -1
	if timeout >= 0 {
		ms = int((timeout + time.Millisecond - 1) / time.Millisecond)
	}
	return unix.EpollWait(p.fd, p.raw[:], ms)
}

// Wake ends a Wait, the one that is under way or the next. Any goroutine may call it.
func (p *Poller) Wake() {
	_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // full means that it is woken already
}

// Fine lets the kernel end this thread's waits to the microsecond; otherwise it may let them last 50 us longer.
func Fine() {
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // else the latencies have that much in them
}

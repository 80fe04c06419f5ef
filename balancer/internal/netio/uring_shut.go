//go:build linux

package netio

import (
	"errors"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// shutPatience bounds the wait for operations that are being cancelled. They end at once; it is for a kernel that does
// not keep its word.
const shutPatience = 5 * time.Second

func (e *uring) Shut() {
	if !e.shutting() || e.started && !e.quit() {
		return // the kernel may still write to what would be unmapped
	}
	e.release()
	e.releaseRing()
}

// quit cancels what the kernel has and waits for the last completion.
func (e *uring) quit() bool {
	for fd := range e.listeners {
		_ = e.Unlisten(int(fd)) // known
	}
	e.cancel(userData(ringWake, 0, 0))
	waking := true
	for start := time.Now(); ; {
		e.giveBack()
		errno := e.ring.poll()
		for end := e.ring.end(); e.ring.cqHead != end; {
			q := *e.ring.at(e.ring.cqHead)
			e.ring.cqHead++
			switch op := ringOp(q.data >> ringOpShift); op {
			case ringWake:
				waking = false
			case ringRecv, ringInput, ringRoom, ringConnect, ringFirst, ringDrop:
				var c Completion
				e.completed(q, &c)
			case ringNothing, ringAccept:
			}
		}
		switch {
		case !waking && e.slots.ending == 0 && e.ring.tail == e.ring.head && len(e.ring.late) == 0:
			return true
		case errors.Is(errno, unix.EEXIST), time.Since(start) > shutPatience:
			return false // another thread than the loop's
		}
		runtime.Gosched()
	}
}

// releaseRing frees what belongs to the ring.
func (e *uring) releaseRing() {
	if e.bufs != nil {
		e.bufs.unmap(e.ring)
	}
	if e.firsts != nil {
		e.firsts.unmap()
	}
	e.ring.close()
}

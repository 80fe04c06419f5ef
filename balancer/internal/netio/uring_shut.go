//go:build linux

package netio

import (
	"errors"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// shutPatience bounds the wait for operations that are being cancelled. They end
// at once; it is for a kernel that does not keep its word.
const shutPatience = 5 * time.Second

func (e *uring) Shut() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.shut {
		return
	}
	e.shut = true
	for i := range e.slots.pages {
		for j := range e.slots.pages[i] {
			if sl := &e.slots.pages[i][j]; sl.gen&1 == 1 {
				e.Close(Sock(i<<pageBits|j), true)
			}
		}
	}
	if e.started && !e.drain() {
		return // the kernel may still write to what would be unmapped
	}
	e.spares.shut()
	e.pipes.shut()
	e.buffers.shut()
	sysClose(e.wakeFd)
	e.release()
}

// drain cancels what the kernel has and waits for the last completion.
func (e *uring) drain() bool {
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

// release frees what belongs to the ring.
func (e *uring) release() {
	if e.bufs != nil {
		e.bufs.unmap(e.ring)
	}
	if e.firsts != nil {
		e.firsts.unmap()
	}
	e.ring.close()
}

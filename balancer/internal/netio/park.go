//go:build linux

package netio

import (
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A loop waits in two ways.
//
// It watches: it blocks in a raw call and keeps its P. Coming back costs one context switch. The signal by which the
// runtime stops the world ends it.
//
// When nothing has come for watchTime it parks: the goroutine waits in the runtime's poller and gives its P back. Coming
// back costs up to three context switches, but nothing runs meanwhile for the loop's sake. A call that tells the scheduler
// is neither: at each return it wakes sysmon, which then looks around some fifty times.
const (
	// watchTime is below the 10 ms after which sysmon has a P preempted, which costs as much as parking does.
	watchTime = 8 * time.Millisecond
	// farOff is a wait that needs no timer.
	farOff = 1 << 60 * time.Nanosecond
)

// parker has the runtime's poller wait for a loop. It has a descriptor of its own, which becomes readable only while its
// engine has armed it: at all other times the poller's thread is left alone.
type parker struct {
	// Constant after newParker.
	own   engine
	file  *os.File
	conn  syscall.RawConn
	waits func(uintptr) bool // wait, made once

	parked  bool
	limited bool  // file has a deadline
	callFd  int32 // of an engine that the poller cannot wait for: a call does; 0: it can
}

// newParker makes one of fd, which does not block and becomes the parker's.
func newParker(own engine, fd int32) (*parker, error) {
	p := &parker{own: own, file: os.NewFile(uintptr(fd), "loop")}
	p.waits = p.wait
	var err error
	if p.conn, err = p.file.SyscallConn(); err == nil {
		err = p.file.SetReadDeadline(time.Time{}) // fails where the poller has not taken it
	}
	if err != nil {
		p.close()
		return nil, fmt.Errorf("netio: the runtime's poller: %w", err)
	}
	return p, nil
}

// park returns when something may have ended, and after left at the latest.
func (p *parker) park(left time.Duration) {
	if p.callFd != 0 {
		p.call(left)
		return
	}
	if limited := left < farOff; limited || p.limited {
		var until time.Time
		if limited {
			until = time.Now().Add(left)
		}
		p.limited = limited
		_ = p.file.SetReadDeadline(until) // as in newParker
	}
	p.parked = false
	_ = p.conn.Read(p.waits) // fails at the deadline
	p.own.disarm()
}

// call waits for callFd. The scheduler knows of it.
func (p *parker) call(left time.Duration) {
	const longest = time.Hour // who parks does so again
	ms := (min(left, longest) + time.Millisecond - 1) / time.Millisecond
	_, _ = unix.Poll([]unix.PollFd{{Fd: p.callFd, Events: unix.POLLIN}}, int(ms)) // EINTR: likewise
}

// wait is called before the goroutine parks, and when it has been woken.
func (p *parker) wait(uintptr) bool {
	if p.parked {
		return true
	}
	p.parked = true
	return p.own.arm()
}

func (p *parker) close() { p.file.Close() }

//go:build linux

package netio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// pipeSize is asked for each pipe: /proc/sys/fs/pipe-max-size for ordinary users. Own CPU per GB of one flow, by
	// size: 64 KiB 600 ms, 256 KiB 420, 512 KiB 340, 1 MiB 260; Gbit/s 12, 16, 17, 20. The pages are taken only while
	// bytes are in the pipe.
	pipeSize = 1 << 20
	// minPipe is the smallest pipe worth having. Beyond 16,384 pages of pipes, 256 of this size, an ordinary user's
	// pipes are not enlarged any more, and soon get one or two pages (pipe(7), pipe-user-pages-soft): slower than
	// copying.
	minPipe = 64 << 10
	// maxPipes bounds the pipes of one loop, and so two descriptors each.
	maxPipes = 256
	// maxIdlePipes bounds those kept for the next bulky flow.
	maxIdlePipes = 16
)

// pipe is a kernel pipe. n is what it holds: without that number EAGAIN of a splice into it could mean "socket empty"
// as well as "pipe full".
type pipe struct {
	r, w int32
	n    int
	size int
}

// pipes is the loop's free list. Only empty pipes are in it.
type pipes struct {
	idle []*pipe
	made int
}

// get returns an empty pipe, or nil when there is none worth having.
func (ps *pipes) get() *pipe {
	if last := len(ps.idle) - 1; last >= 0 {
		p := ps.idle[last]
		ps.idle = ps.idle[:last]
		return p
	}
	if ps.made >= maxPipes {
		return nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		return nil
	}
	p := &pipe{r: int32(fds[0]), w: int32(fds[1])}
	ps.made++
	// A smaller pipe will work too; what we got is read back below.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	size, err := unix.FcntlInt(uintptr(fds[0]), unix.F_GETPIPE_SZ, 0)
	if err != nil || size < minPipe {
		ps.destroy(p)
		return nil
	}
	p.size = size
	return p
}

// put takes a pipe back. One that still holds bytes is destroyed, so that they can never reach another conn.
func (ps *pipes) put(p *pipe) {
	if p.n != 0 || len(ps.idle) >= maxIdlePipes {
		ps.destroy(p)
		return
	}
	ps.idle = append(ps.idle, p)
}

func (ps *pipes) destroy(p *pipe) {
	sysClose(p.r)
	sysClose(p.w)
	ps.made--
}

func (ps *pipes) shut() {
	for _, p := range ps.idle {
		ps.destroy(p)
	}
	ps.idle = nil
}

// stop is why moving bytes through a pipe has stopped.
type stop uint8

const (
	stopShare stop = iota // the flow has had its share
	stopEmpty             // the source has nothing now
	stopEnd               // the source has ended, or failed if there is an errno
	stopFull              // the sink has no room now, and the pipe holds bytes
	stopSink              // the sink has failed, and the pipe holds bytes
)

// move moves bytes from one socket to another until moved, the bytes that have reached the sink, is at least most.
// Unless the reason to stop is the sink, the pipe is empty then.
func (p *pipe) move(from, to int32, moved *uint32, most uint32) (stop, syscall.Errno) {
	for {
		if p.n == 0 {
			if *moved >= most {
				return stopShare, 0
			}
			n, errno := sysSplice(from, p.w, p.size)
			switch {
			case errno == unix.EAGAIN:
				return stopEmpty, 0 // the pipe is empty, so it is the socket that has nothing
			case errno != 0 || n == 0:
				return stopEnd, errno
			}
			p.n = n
		}
		n, errno := sysSplice(p.r, to, p.n)
		switch {
		case errno == unix.EAGAIN:
			return stopFull, 0 // the pipe holds bytes, so it is the sink that has no room
		case errno != 0:
			return stopSink, errno
		}
		p.n -= n
		*moved += uint32(n)
	}
}

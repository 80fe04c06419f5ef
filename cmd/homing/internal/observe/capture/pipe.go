package capture

import (
	"context"
	"io"
	"os"
	"sync/atomic"
)

// counter counts what is read of a file, until the context is done: a file may have much in it that is no packet.
type counter struct {
	ctx context.Context // as files has it
	r   io.Reader
	n   *atomic.Int64
}

func (c counter) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, io.EOF
	}
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// patient has a reader that may wait for ever give way to the end of the context. A file on a disk does not wait.
func patient(ctx context.Context, r io.Reader) io.Reader {
	if f, ok := r.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return r
		}
	}
	p := &pipe{ctx: ctx, full: make(chan chunk), empty: make(chan []byte, 1)}
	p.empty <- make([]byte, readAhead)
	go p.fill(r)
	return p
}

// pipe reads in a goroutine of its own. A Read that waits cannot be ended: behind the end of the context the goroutine stays in it, at
// most until the process ends.
type pipe struct {
	ctx   context.Context // as files has it
	full  chan chunk
	empty chan []byte
	now   chunk
	left  []byte // of now
}

// chunk is what one Read gave.
type chunk struct {
	data []byte
	err  error
}

func (p *pipe) fill(r io.Reader) {
	for {
		select {
		case <-p.ctx.Done():
			return
		case b := <-p.empty:
			n, err := r.Read(b[:cap(b)])
			select {
			case <-p.ctx.Done():
				return
			case p.full <- chunk{b[:n], err}:
			}
			if err != nil {
				return
			}
		}
	}
}

func (p *pipe) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		if p.now.err != nil {
			return 0, p.now.err
		}
		select {
		case <-p.ctx.Done():
			return 0, io.EOF
		case p.now = <-p.full:
			p.left = p.now.data
		}
	}
	n := copy(b, p.left)
	p.left = p.left[n:]
	if len(p.left) == 0 && p.now.err == nil {
		p.empty <- p.now.data
	}
	return n, nil
}

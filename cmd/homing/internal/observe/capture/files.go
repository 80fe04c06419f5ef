package capture

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"
)

// Stdin is the name that stands for the standard input.
const Stdin = "-"

// latest is the last second that a time may be of, since 1970: it is in 2242, and all that counts in nanoseconds can still hold it.
const latest = 1<<33 - 1

// Open reads capture files one after the other: pcap and pcapng, each also compressed by gzip; what a file is, its first bytes tell.
// The name "-" is stdin. A name that cannot be read is an error here, a file that is no capture one of Next, when its turn comes.
//
// An error of Next that is a *FileError concerns one file: Next may be called again and goes on with the next one.
func Open(ctx context.Context, names []string, stdin io.Reader) (Source, error) {
	s := &files{names: names, stdin: stdin}
	for _, name := range names {
		if name == Stdin {
			s.endless = true
			continue
		}
		info, err := os.Stat(name)
		switch {
		case err != nil:
			return nil, fmt.Errorf("capture file: %w", err)
		case info.IsDir():
			return nil, fmt.Errorf("capture file %s is a directory: name the files in it, the oldest first", name)
		case !info.Mode().IsRegular():
			s.endless = true // a named pipe
		default:
			s.size += info.Size()
		}
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	return s, nil
}

// files is the Source of capture files. Its counters are written by Next alone.
type files struct {
	ctx     context.Context // the life of the source, and Next has no other way to hear of its end
	cancel  context.CancelFunc
	names   []string // those that are still to come
	stdin   io.Reader
	size    int64
	endless bool

	now     *file
	packets atomic.Uint64
	bytes   atomic.Uint64
	dropped atomic.Uint64
	read    atomic.Int64
	source  atomic.Pointer[string]
	last    time.Time
}

func (s *files) Next() (Packet, error) {
	for {
		if s.ctx.Err() != nil {
			return Packet{}, io.EOF
		}
		if s.now == nil {
			if len(s.names) == 0 {
				return Packet{}, io.EOF
			}
			if err := s.turn(); err != nil {
				return Packet{}, err
			}
		}
		p, err := s.now.next()
		if err == nil {
			if at := p.Time.Unix(); at < 0 || at > latest {
				p.Time = s.last
			}
			s.last = p.Time
			s.packets.Add(1)
			s.bytes.Add(uint64(len(p.Data)))
			return p, nil
		}
		err = s.now.fault(err)
		s.done()
		if s.ctx.Err() != nil {
			return Packet{}, io.EOF
		}
		if err != nil {
			return Packet{}, err
		}
	}
}

// turn opens the next file.
func (s *files) turn() error {
	name := s.names[0]
	s.names = s.names[1:]
	f := &file{name: name, in: s.stdin, dropped: &s.dropped}
	if name == Stdin {
		f.name = "stdin"
	} else {
		opened, err := os.Open(name)
		if err != nil {
			return &FileError{File: name, Problem: err.Error(), Err: err}
		}
		f.in, f.closer = opened, opened
	}
	f.in = counter{s.ctx, patient(s.ctx, f.in), &s.read}
	s.source.Store(&f.name)
	if err := f.begin(); err != nil {
		if f.closer != nil {
			_ = f.closer.Close() // nothing was written
		}
		return f.fault(err)
	}
	s.now = f
	return nil
}

func (s *files) done() {
	if s.now.closer != nil {
		_ = s.now.closer.Close() // nothing was written
	}
	s.now = nil
}

func (s *files) Stats() Stats {
	st := Stats{Packets: s.packets.Load(), Bytes: s.bytes.Load(), Dropped: s.dropped.Load(), Read: s.read.Load()}
	if !s.endless {
		st.Size = s.size
	}
	if name := s.source.Load(); name != nil {
		st.Source = *name
	}
	return st
}

func (s *files) Close() error {
	s.cancel()
	s.names = nil
	if s.now != nil {
		s.done()
	}
	return nil
}

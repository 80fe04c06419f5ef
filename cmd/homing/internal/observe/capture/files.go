package capture

import (
	"container/heap"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"time"
)

// Stdin is the name that stands for the standard input.
const Stdin = "-"

// latest is the last second that a time may be of, since 1970: it is in 2242, and all that counts in nanoseconds can still hold it.
const latest = 1<<33 - 1

// maxMerged is how many files are read at the same time, each with a buffer of readAhead and its packet.
const maxMerged = 100

// Open reads capture files: pcap and pcapng, each also compressed by gzip; what a file is, its first bytes tell. A name that cannot
// be read is an error here, a file that is no capture one of Next, when its turn comes.
//
// Packets come in order of time, whatever the order of the names: files of recorders that ran side by side are merged, those of one
// after the other are read so, each once what is before it is read. Of files that have no order in themselves that is not changed.
// The name "-" is stdin; where it or another pipe is among the names, files are read one after the other, as they are given.
//
// An error of Next that is a *FileError concerns one file: Next may be called again and goes on with the others.
func Open(ctx context.Context, names []string, stdin io.Reader) (Source, error) {
	s := &files{stdin: stdin}
	for i, name := range names {
		s.waiting = append(s.waiting, waiting{name: name, index: i})
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
	if !s.endless && len(names) > 1 {
		for i := range s.waiting {
			s.waiting[i].first = firstTime(s.waiting[i].name)
		}
		slices.SortStableFunc(s.waiting, func(a, b waiting) int { return a.first.Compare(b.first) })
	}
	s.ctx, s.cancel = context.WithCancel(ctx)
	return s, nil
}

// firstTime is the time of a file's first packet. It is zero where there is none: then the file's turn comes first, and tells.
func firstTime(name string) time.Time {
	opened, err := os.Open(name)
	if err != nil {
		return time.Time{}
	}
	defer opened.Close()
	f := &file{name: name, in: opened, dropped: new(atomic.Uint64)}
	if f.begin() != nil {
		return time.Time{}
	}
	p, err := f.next()
	if err != nil || !sane(p.Time) {
		return time.Time{}
	}
	return p.Time
}

// sane says that a time is one that all that counts can hold.
func sane(t time.Time) bool {
	at := t.Unix()
	return at >= 0 && at <= latest
}

// waiting is a file whose turn is still to come.
type waiting struct {
	name  string
	index int // in the order given
	first time.Time
}

// stream is a file that is being read, with its next packet.
type stream struct {
	*file
	index  int
	packet Packet
}

// streams is a heap by time.
type streams []*stream

func (h streams) Len() int { return len(h) }

func (h streams) Less(i, j int) bool {
	if c := h[i].packet.Time.Compare(h[j].packet.Time); c != 0 {
		return c < 0
	}
	return h[i].index < h[j].index
}
func (h streams) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *streams) Push(x any)   { *h = append(*h, x.(*stream)) }

func (h *streams) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}

// files is the Source of capture files. Its counters are written by Next alone.
type files struct {
	ctx     context.Context // the life of the source, and Next has no other way to hear of its end
	cancel  context.CancelFunc
	waiting []waiting // in order
	stdin   io.Reader
	size    int64
	endless bool

	open    streams // the first's packet is the next, or was the last that Next gave
	given   bool    // it was
	packets atomic.Uint64
	bytes   atomic.Uint64
	dropped atomic.Uint64
	read    atomic.Int64
	source  atomic.Pointer[string]
}

func (s *files) Next() (Packet, error) {
	if s.given {
		s.given = false
		if err := s.advance(); err != nil {
			return Packet{}, err
		}
	}
	for s.turnComes() {
		if err := s.turn(); err != nil {
			return Packet{}, err
		}
	}
	if s.ctx.Err() != nil || len(s.open) == 0 {
		return Packet{}, io.EOF
	}
	p := s.open[0].packet
	s.given = true
	s.packets.Add(1)
	s.bytes.Add(uint64(len(p.Data)))
	return p, nil
}

// turnComes says that the next packet may be in the next file.
func (s *files) turnComes() bool {
	if len(s.waiting) == 0 || s.ctx.Err() != nil {
		return false
	}
	if len(s.open) == 0 {
		return true
	}
	return !s.endless && len(s.open) < maxMerged && !s.waiting[0].first.After(s.open[0].packet.Time)
}

// advance reads the next packet of the first stream, which ends where there is none.
func (s *files) advance() error {
	one := s.open[0]
	err := s.fill(one)
	if err == nil {
		heap.Fix(&s.open, 0)
		return nil
	}
	heap.Pop(&s.open)
	return s.end(one, err)
}

// fill reads a stream's next packet. A time that cannot be is that of the packet before.
func (s *files) fill(one *stream) error {
	p, err := one.next()
	if err != nil {
		return err
	}
	if !sane(p.Time) {
		p.Time = one.packet.Time
	}
	one.packet = p
	return nil
}

// end closes a stream, and says what is wrong, if that is why.
func (s *files) end(one *stream, err error) error {
	err = one.fault(err)
	one.close()
	if s.ctx.Err() != nil {
		return io.EOF
	}
	return err
}

// turn opens the next file.
func (s *files) turn() error {
	name, index := s.waiting[0].name, s.waiting[0].index
	s.waiting = s.waiting[1:]
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
	one := &stream{file: f, index: index}
	err := f.begin()
	if err == nil {
		err = s.fill(one)
	}
	if err != nil {
		return s.end(one, err)
	}
	heap.Push(&s.open, one)
	return nil
}

func (f *file) close() {
	if f.closer != nil {
		_ = f.closer.Close() // nothing was written
	}
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
	s.waiting, s.given = nil, false
	for _, one := range s.open {
		one.close()
	}
	s.open = nil
	return nil
}

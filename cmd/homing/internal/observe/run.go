package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"homing/cmd/homing/internal/observe/capture"
	"homing/cmd/homing/internal/observe/flow"
	"homing/cmd/homing/internal/observe/judge"
	"homing/cmd/homing/internal/observe/report"
	"homing/cmd/internal/usage"
)

// session is one run: a source and what is found in it.
type session struct {
	// Static.
	options *options
	source  capture.Source

	mu    sync.Mutex
	flow  *flow.Assembler // guarded by mu
	judge *judge.Judge    // guarded by mu
	ended []string        // guarded by mu: why the source, or a file, ended before its end
}

// run is the whole life of the command. All that needs a privilege, or may be refused, comes before the first packet. How far
// files are read is told on progress, if that is a terminal, and warnings are.
func run(ctx context.Context, o *options, stdin io.Reader, stdout, progress io.Writer) (err error) {
	if err := o.validate(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.maximum > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.maximum)
		defer cancel()
	}
	s := &session{options: o}
	if s.source, err = open(ctx, o, stdin); err != nil {
		return err
	}
	defer s.source.Close()
	out, err := openOutputs(o, stdout)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, usage.Failed(out.close())) }()
	if s.judge, err = judge.New(judge.Config{Backends: o.backends, VIPs: o.vips}); err != nil {
		return usage.Failed(err)
	}
	defer s.judge.Free() //nolint:errcheck // the process ends
	s.flow = flow.New(flow.Config{Ports: o.ports, MaxConns: o.maxConns, MaxBytes: int(o.memory), Handler: s.judge})
	serving, err := serve(o, out, s.look)
	if err != nil {
		return err
	}
	defer serving()
	if o.device != "" {
		if err := capture.DropPrivileges(); err != nil { // a container's root may have no more than the right to listen
			fmt.Fprintln(progress, "homing: warning:", err)
		}
	}
	ended := s.beside(ctx, out, progress)
	err = s.read(ctx)
	ended()
	return errors.Join(usage.Failed(out.write(s.final())), usage.Failed(err))
}

// open opens the source.
func open(ctx context.Context, o *options, stdin io.Reader) (capture.Source, error) {
	if o.device == "" {
		return capture.Open(ctx, o.files, stdin)
	}
	return capture.Listen(ctx, capture.Options{
		Interface: o.device, Ports: o.ports, Mirrors: o.mirrors, Promiscuous: o.promisc, Snap: int(o.snap), Buffer: int(o.buffer),
	})
}

// read takes all packets. A file that cannot be read to its end is no reason to leave out the next one: the error is the
// first of them.
func (s *session) read(ctx context.Context) (first error) {
	for {
		p, err := s.source.Next()
		switch {
		case err == nil:
			s.mu.Lock()
			s.flow.Packet(p)
			s.judge.Pass(p.Time)
			s.mu.Unlock()
			continue
		case errors.Is(err, io.EOF):
			if n := s.source.Stats(); ctx.Err() != nil && n.Size > 0 { // an interface, or a pipe, has no other end
				s.end(fmt.Sprintf("interrupted, behind %d packets", n.Packets))
			}
			return first
		}
		if first == nil {
			first = err
		}
		s.end(err.Error())
		if _, more := errors.AsType[*capture.FileError](err); !more {
			return first
		}
	}
}

// end notes why the source, or a file of it, ended before its end.
func (s *session) end(why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = append(s.ended, why)
}

// look is what has been found so far.
func (s *session) look() *judge.Findings {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.judge.Findings()
	stats, packets := s.source.Stats(), s.flow.Stats()
	f.Capture = judge.Capture{
		Source: stats.Source, Packets: stats.Packets, Bytes: stats.Bytes, Dropped: stats.Dropped, Cut: packets.Cut,
		Link: packets.Link,
	}
	if n := len(s.options.files); n > 1 {
		f.Capture.Source = fmt.Sprintf("%d files", n)
	} else if n == 1 {
		f.Capture.Source = s.options.files[0]
		if f.Capture.Source == capture.Stdin {
			f.Capture.Source = "stdin"
		}
	}
	if n := len(s.ended); n > 0 {
		f.Capture.Ended = s.ended[0]
	}
	return f
}

// final is what has been found in all.
func (s *session) final() *judge.Findings {
	s.mu.Lock()
	s.flow.Flush()
	s.mu.Unlock()
	f := s.look()
	price(f, s.options.certificate)
	return f
}

// beside starts what goes on while packets are read: looks at the findings, or at how far a file is. The function that it
// returns ends it.
func (s *session) beside(ctx context.Context, out *outputs, progress io.Writer) (end func()) {
	every, tell := 200*time.Millisecond, func() {}
	clear := func() {}
	switch {
	case s.options.watch:
		var w report.Watch
		every = s.options.every
		tell = func() { out.screen(w.Screen(out.hide(s.look(), out.toFile))) }
	case s.options.device == "" && isTerminal(progress):
		begun := time.Now()
		tell = func() { fmt.Fprintf(progress, "\r%-79.79s", howFar(s.source.Stats(), time.Since(begun))) }
		clear = func() { fmt.Fprintf(progress, "\r%79s\r", "") }
	default:
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				tell()
			}
		}
	}()
	return func() {
		cancel()
		<-done
		clear()
	}
}

// howFar is how far the files are read.
func howFar(s capture.Stats, passed time.Duration) string {
	speed := float64(s.Read) / 1e6 / max(passed.Seconds(), 1e-3)
	if s.Size <= 0 {
		return fmt.Sprintf("%s: %d packets, %.0f MB, %.0f MB/s", s.Source, s.Packets, float64(s.Read)/1e6, speed)
	}
	return fmt.Sprintf("%s: %d packets, %.0f of %.0f MB, %.0f MB/s", s.Source, s.Packets, float64(s.Read)/1e6, float64(s.Size)/1e6, speed)
}

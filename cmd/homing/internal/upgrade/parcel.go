//go:build linux

package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// Parcel is what an elder hands over at once: descriptors and letters, by name. The zero value is an empty one.
type Parcel struct {
	files   []file
	letters map[string]json.RawMessage
}

// file is a descriptor with a name. Several may have one name.
type file struct {
	name string
	fd   int
}

// Add puts a descriptor in, which is the parcel's own from now on.
func (p *Parcel) Add(name string, fd int) { p.files = append(p.files, file{name, fd}) }

// AddSocket puts a duplicate of a socket's descriptor in. Whether the socket blocks, which all duplicates have in
// common, stays as it is.
func (p *Parcel) AddSocket(name string, socket syscall.Conn) error {
	fd, err := duplicate(socket)
	if err != nil {
		return fmt.Errorf("hand over %s: %w", name, err)
	}
	p.Add(name, fd)
	return nil
}

// AddStream puts one end of a new stream in, and returns the other.
func (p *Parcel) AddStream(name string) (net.Conn, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("hand over %s: socketpair: %w", name, err)
	}
	p.Add(name, pair[1])
	return connOf(pair[0])
}

// Stream takes the end of a stream with that name out.
func (p *Parcel) Stream(name string) (net.Conn, error) {
	files := p.Take(name)
	if len(files) == 0 {
		return nil, fmt.Errorf("there is no %q in what is handed over", name)
	}
	closeAll(files[1:])
	return connOf(files[0])
}

// Write puts a letter in: v as JSON.
func (p *Parcel) Write(name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("hand over %s: %w", name, err)
	}
	if p.letters == nil {
		p.letters = make(map[string]json.RawMessage)
	}
	p.letters[name] = text
	return nil
}

// Read reads a letter into v, and says whether there is one.
func (p *Parcel) Read(name string, v any) (bool, error) {
	text, ok := p.letters[name]
	if !ok {
		return false, nil
	}
	if err := json.Unmarshal(text, v); err != nil {
		return true, fmt.Errorf("what the running process hands over of %s: %w: restart instead", name, err)
	}
	return true, nil
}

// Take takes all descriptors with that name out; they are the caller's own.
func (p *Parcel) Take(name string) (files []int) {
	p.files = slices.DeleteFunc(p.files, func(f file) bool {
		if f.name == name {
			files = append(files, f.fd)
		}
		return f.name == name
	})
	return files
}

// Close closes the descriptors that nobody took.
func (p *Parcel) Close() {
	for _, f := range p.files {
		closeAll([]int{f.fd})
	}
	p.files = nil
}

// send sends a parcel; it stays the sender's.
func (c *channel) sendParcel(ctx context.Context, p *Parcel) error {
	for batch := range slices.Chunk(p.files, maxFiles) {
		m := &message{Kind: kindFiles}
		for _, f := range batch {
			m.Names, m.files = append(m.Names, f.name), append(m.files, f.fd)
		}
		if err := c.send(ctx, m); err != nil {
			return err
		}
	}
	return c.send(ctx, &message{Kind: kindParcel, Letters: p.letters})
}

// receiveParcel is the next parcel.
func (c *channel) receiveParcel(ctx context.Context) (*Parcel, error) {
	p := new(Parcel)
	for {
		m, err := c.receive(ctx)
		if err != nil {
			p.Close()
			return nil, err
		}
		for i, fd := range m.files {
			p.Add(m.Names[i], fd)
		}
		if m.Kind == kindParcel {
			p.letters = m.Letters
			return p, nil
		}
		if m.Kind != kindFiles {
			p.Close()
			return nil, fmt.Errorf("%q instead of a parcel", m.Kind)
		}
	}
}

// duplicate is a second descriptor of a socket, closed on exec.
func duplicate(socket syscall.Conn) (fd int, err error) {
	raw, err := socket.SyscallConn()
	if err != nil {
		return -1, err
	}
	var wrong error
	err = raw.Control(func(old uintptr) { fd, wrong = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3) })
	return fd, errors.Join(err, wrong)
}

// isGone says that the other process has ended.
func isGone(err error) bool { return errors.Is(err, io.EOF) }

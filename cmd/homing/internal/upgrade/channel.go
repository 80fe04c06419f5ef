//go:build linux

package upgrade

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// protocol is the version of what passes over the channel. A heir that speaks another says so and ends.
	protocol = 1

	// maxLetter bounds one message, in bytes. The members of a large cluster are the most there is to tell, 300 bytes
	// each.
	maxLetter = 16 << 20

	// maxFiles is the most descriptors that one message can carry: SCM_MAX_FD of the kernel.
	maxFiles = 253
)

// kind says what a message is.
type kind string

const (
	kindHello   kind = "hello"   // elder: who it is
	kindFiles   kind = "files"   // elder: descriptors, and their names
	kindParcel  kind = "parcel"  // elder: letters; all files of the parcel have gone before
	kindReady   kind = "ready"   // heir: all that can fail is done
	kindServe   kind = "serve"   // elder: accept conns
	kindServing kind = "serving" // heir: it does
	kindDone    kind = "done"    // heir: it does everything
	kindFailed  kind = "failed"  // heir: why it ends
)

// message is what passes over the channel.
type message struct {
	Kind     kind                       `json:"kind"`
	Protocol int                        `json:"protocol,omitempty"`
	Version  string                     `json:"version,omitempty"`
	PID      int                        `json:"pid,omitempty"`
	Names    []string                   `json:"names,omitempty"`
	Letters  map[string]json.RawMessage `json:"letters,omitempty"`
	Error    string                     `json:"error,omitempty"`

	files []int // with Names; the receiver's own
}

// channel is one end of the socketpair. A message is 4 bytes of length and then JSON; the descriptors come with the
// length.
type channel struct{ conn *net.UnixConn }

// newChannels makes both ends, the second as a file for the heir.
func newChannels() (*channel, *os.File, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socketpair: %w", err)
	}
	theirs := os.NewFile(uintptr(pair[1]), "heir")
	ours, err := openChannel(pair[0])
	if err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// openChannel takes a descriptor.
func openChannel(fd int) (*channel, error) {
	conn, err := connOf(fd)
	if err != nil {
		return nil, err
	}
	stream, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(fmt.Errorf("descriptor %d is no unix socket", fd), conn.Close())
	}
	return &channel{stream}, nil
}

// connOf makes a conn of a descriptor, which is its own then, also on an error.
func connOf(fd int) (net.Conn, error) {
	file := os.NewFile(uintptr(fd), "socket")
	if file == nil {
		return nil, unix.EBADF
	}
	conn, err := net.FileConn(file)
	return conn, errors.Join(err, file.Close())
}

func (c *channel) close() { c.conn.Close() }

// within bounds what happens until the function it returns is called.
func (c *channel) within(ctx context.Context) func() {
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.conn.SetDeadline(deadline) // a closed conn fails anyway
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.SetDeadline(time.Unix(1, 0)) })
	return func() {
		stop()
		_ = c.conn.SetDeadline(time.Time{})
	}
}

// send sends a message and its files, which stay the sender's.
func (c *channel) send(ctx context.Context, m *message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(body) > maxLetter || len(m.files) > maxFiles || len(m.files) != len(m.Names) {
		return fmt.Errorf("a message of %d bytes with %d files and %d names", len(body), len(m.files), len(m.Names))
	}
	defer c.within(ctx)()
	var rights []byte
	if len(m.files) > 0 {
		rights = unix.UnixRights(m.files...)
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	// A socket of type stream takes the four bytes whole or not at all.
	if _, _, err := c.conn.WriteMsgUnix(head, rights, nil); err != nil {
		return late(ctx, gone(err))
	}
	if _, err := c.conn.Write(body); err != nil {
		return late(ctx, gone(err))
	}
	return nil
}

// late makes ctx's error of one that shows its end.
func late(ctx context.Context, err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return context.DeadlineExceeded // the socket's clock was ahead of ctx's
}

// receive is the next message. io.EOF: the other process is gone.
func (c *channel) receive(ctx context.Context) (*message, error) {
	defer c.within(ctx)()
	m, files, err := c.read()
	if err != nil {
		closeAll(files)
		return nil, late(ctx, err)
	}
	if len(files) != len(m.Names) {
		closeAll(files)
		return nil, fmt.Errorf("%d files with %d names", len(files), len(m.Names))
	}
	m.files = files
	return m, nil
}

func (c *channel) read() (m *message, files []int, err error) {
	var head [4]byte
	room := make([]byte, unix.CmsgSpace(4*maxFiles))
	n, rightsBytes, flags, _, err := c.conn.ReadMsgUnix(head[:], room)
	if rightsBytes > 0 {
		var wrong error
		files, wrong = parseRights(room[:rightsBytes])
		err = errors.Join(err, wrong)
	}
	switch {
	case err != nil:
		return nil, files, gone(err)
	case n == 0:
		return nil, files, io.EOF
	case flags&unix.MSG_CTRUNC != 0:
		return nil, files, errors.New("some descriptors did not fit under the limit of open files")
	}
	if _, err := io.ReadFull(c.conn, head[n:]); err != nil {
		return nil, files, gone(err)
	}
	length := binary.BigEndian.Uint32(head[:])
	if length > maxLetter {
		return nil, files, fmt.Errorf("a message of %d bytes", length)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(c.conn, body); err != nil {
		return nil, files, gone(err)
	}
	m = new(message)
	if err := json.Unmarshal(body, m); err != nil {
		return nil, files, fmt.Errorf("a message that cannot be read: %w", err)
	}
	return m, files, nil
}

// gone tells the end of the other process, however it shows, from other errors.
func gone(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE) {
		return io.EOF
	}
	return err
}

func parseRights(b []byte) (files []int, err error) {
	messages, err := unix.ParseSocketControlMessage(b)
	if err != nil {
		return nil, err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return files, err
		}
		files = append(files, fds...)
	}
	return files, nil
}

func closeAll(files []int) {
	for _, fd := range files {
		_ = unix.Close(fd) // ours, and nothing was written to it
	}
}

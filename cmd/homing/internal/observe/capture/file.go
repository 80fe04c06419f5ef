package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/klauspost/compress/gzip"
)

const (
	// readAhead is how much of a file is read at once, in bytes: above it the time goes into the packets, not into system calls.
	readAhead = 256 << 10
	// maxPacket is libpcap's longest packet, in bytes. A file that claims a longer one is damaged, and gopacket takes no more at once.
	maxPacket = 256 << 10
)

// FileError tells why a file was not read to its end.
type FileError struct {
	File    string
	Packets uint64 // read of this file before, and good
	Offset  int64  // in bytes from the beginning, of the uncompressed file; -1: not known
	Problem string // what is wrong
	Remedy  string // what helps; empty: nothing is known to
	Err     error  // what the reader said; nil: nothing
}

func (e *FileError) Error() string {
	text := e.File + ": " + e.Problem
	if e.Packets > 0 {
		text += fmt.Sprintf(" at byte %d, behind %d packets that are good", e.Offset, e.Packets)
	}
	if e.Remedy != "" {
		text += "; " + e.Remedy
	}
	return text
}

func (e *FileError) Unwrap() error { return e.Err }

// file is one capture file while it is read.
type file struct {
	name    string
	in      io.Reader
	closer  io.Closer // nil: not ours to close
	count   *atomic.Int64
	dropped *atomic.Uint64

	read    func() ([]byte, gopacket.CaptureInfo, error)
	link    layers.LinkType // of every packet, where ci has none
	offset  func() int64    // of what is read next
	packets uint64
	at      int64
}

// counter counts what is read of a file.
type counter struct {
	r io.Reader
	n *atomic.Int64
}

func (c counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// begin reads what tells the kind of the file.
func (f *file) begin() error {
	r := bufio.NewReaderSize(counter{f.in, f.count}, readAhead)
	kind, err := sniff(r)
	if err == nil && kind == kindGzip {
		var unpacked *gzip.Reader
		if unpacked, err = gzip.NewReader(r); err == nil {
			r = bufio.NewReaderSize(unpacked, readAhead)
			kind, err = sniff(r)
		}
	}
	if err != nil {
		return err
	}
	switch kind {
	case kindPcap:
		return f.beginPcap(r)
	case kindPcapng:
		return f.beginPcapng(r)
	default:
		return kind
	}
}

func (f *file) beginPcap(r *bufio.Reader) error {
	p, err := pcapgo.NewReader(r)
	if err != nil {
		return err
	}
	if p.Snaplen() > maxPacket {
		p.SetSnaplen(maxPacket) // it bounds what a record may claim
	}
	f.link, f.read = p.LinkType(), p.ZeroCopyReadPacketData
	f.at = 24
	return nil
}

func (f *file) beginPcapng(r *bufio.Reader) error {
	p, err := pcapgo.NewNgReader(r, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		return err
	}
	f.read = p.ZeroCopyReadPacketData
	return nil
}

// next returns the next packet, or the reader's error.
func (f *file) next() (Packet, error) {
	data, ci, err := f.read()
	if err != nil {
		if errors.Is(err, io.EOF) && ci.CaptureLength > 0 {
			err = io.ErrUnexpectedEOF // the header of a packet, and nothing of it
		}
		return Packet{}, err
	}
	link := f.link
	if len(ci.AncillaryData) > 0 {
		link, _ = ci.AncillaryData[0].(layers.LinkType)
	}
	f.packets++
	f.at += 16 + int64(len(data))
	return Packet{Time: ci.Timestamp, Data: data, Length: ci.Length, LinkType: link}, nil
}

// fault makes of a reader's error what a user is told; nil at the end of the file.
func (f *file) fault(err error) error {
	if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	e := &FileError{File: f.name, Packets: f.packets, Offset: f.at, Err: err, Problem: err.Error()}
	var k kind
	switch {
	case errors.As(err, &k):
		e.Problem, e.Remedy = k.Error(), k.remedy()
	case errors.Is(err, io.ErrUnexpectedEOF):
		e.Problem, e.Remedy = "the file ends in the middle of a packet", "copy it again when its capture has ended"
	}
	return e
}

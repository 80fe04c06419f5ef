package capture

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"github.com/klauspost/compress/flate"
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
	Offset  int64  // of what could not be read, in bytes from the beginning, unpacked
	Problem string // what is wrong
	Remedy  string // what helps; empty: nothing is known to
	Err     error  // what the reader said; nil: nothing
}

func (e *FileError) Error() string {
	text := e.File + ": " + e.Problem
	switch e.Packets {
	case 0:
	case 1:
		text += fmt.Sprintf(", at byte %d behind 1 packet that is good", e.Offset)
	default:
		text += fmt.Sprintf(", at byte %d behind %d packets that are good", e.Offset, e.Packets)
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
	dropped *atomic.Uint64

	read    func() ([]byte, gopacket.CaptureInfo, error)
	link    layers.LinkType // pcap: of every packet
	packets uint64
	at      int64    // pcap: the offset of the next packet
	blocks  *blocks  // pcapng
	lost    []uint64 // pcapng: by interface of the section, what it said it dropped
}

// begin reads what tells the kind of the file.
func (f *file) begin() error {
	r := bufio.NewReaderSize(f.in, readAhead)
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
	if kind == kindPcap {
		return f.beginPcap(r)
	}
	if kind == kindPcapng {
		return f.beginPcapng(r)
	}
	if kind == kindUnknown && strings.EqualFold(filepath.Ext(f.name), ".etl") {
		kind = kindETL
	}
	return kind
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
	f.blocks = &blocks{r: r}
	p, err := pcapgo.NewNgReader(bufio.NewReaderSize(f.blocks, readAhead), pcapgo.NgReaderOptions{
		WantMixedLinkType:  true,
		SectionEndCallback: func([]pcapgo.NgInterface, pcapgo.NgSectionInfo) { f.lost = nil },
		StatisticsCallback: f.drops,
	})
	if err != nil {
		return err
	}
	f.read = p.ZeroCopyReadPacketData
	return nil
}

// drops hears what an interface of a pcapng file dropped since it began.
func (f *file) drops(id int, stats pcapgo.NgInterfaceStatistics) {
	if stats.PacketsDropped == pcapgo.NgNoValue64 {
		return
	}
	for len(f.lost) <= id {
		f.lost = append(f.lost, 0)
	}
	if more := stats.PacketsDropped - f.lost[id]; stats.PacketsDropped > f.lost[id] {
		f.dropped.Add(more)
		f.lost[id] = stats.PacketsDropped
	}
}

// next returns the next packet, or the reader's error.
func (f *file) next() (Packet, error) {
	if f.blocks != nil {
		f.blocks.asked, f.blocks.time = true, time.Time{}
	}
	data, ci, err := f.read()
	if err != nil {
		if errors.Is(err, io.EOF) && ci.CaptureLength > 0 {
			err = io.ErrUnexpectedEOF // the header of a packet, and nothing of it
		}
		return Packet{}, err
	}
	if data == nil {
		data = []byte{} // none at all is a live source's
	}
	link := f.link
	if len(ci.AncillaryData) > 0 {
		link, _ = ci.AncillaryData[0].(layers.LinkType)
	}
	if f.blocks != nil && !f.blocks.time.IsZero() {
		ci.Timestamp = f.blocks.time
	}
	f.packets++
	f.at += 16 + int64(len(data))
	return Packet{Time: ci.Timestamp, Data: data, Length: ci.Length, LinkType: link}, nil
}

// fault makes of a reader's error what a user is told; nil at the end of the file.
func (f *file) fault(err error) error {
	offset := f.at
	if f.blocks != nil {
		offset = f.blocks.block
		if e := f.blocks.err; e != nil && e != io.EOF {
			err = e // the reader may have wrapped it
		}
	}
	if err == io.EOF {
		return nil
	}
	e := &FileError{File: f.name, Packets: f.packets, Offset: offset, Err: err}
	var (
		k     kind
		block *blockError
		disk  *os.PathError
	)
	switch {
	case errors.As(err, &k):
		e.Problem, e.Remedy = k.Error(), k.remedy()
	case errors.Is(err, io.ErrUnexpectedEOF):
		e.Problem, e.Remedy = "the file is cut off", "copy it again when its capture has ended"
	case errors.Is(err, gzip.ErrChecksum), errors.Is(err, gzip.ErrHeader), errors.As(err, new(flate.CorruptInputError)):
		e.Problem, e.Remedy = "what gzip packed is damaged", "pack or copy it again"
	case errors.Is(err, pcapgo.ErrNgVersionMismatch):
		e.Problem = "a section is of a pcapng version that is not known"
		e.Remedy = "convert it: editcap -F pcapng OLD NEW (editcap comes with Wireshark)"
	case errors.As(err, &disk):
		e.Problem = disk.Op + ": " + disk.Err.Error()
	case errors.As(err, &block):
		e.Problem, e.Remedy = "the file is damaged: "+block.problem, "copy or capture it again"
	default:
		e.Problem, e.Remedy = "the file is damaged: "+err.Error(), "copy or capture it again"
	}
	return e
}

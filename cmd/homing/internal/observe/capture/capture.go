package capture

import (
	"time"

	"github.com/gopacket/gopacket/layers"
)

// Packet is one captured frame.
type Packet struct {
	// Time is when it was captured. A source does not sort: time may go back, in one file and from one file to the next.
	// It is the time of the packet before, or zero, where the capture has none (pcapng's simple packet block) or one that cannot be
	// (before 1970, behind 2242).
	Time time.Time
	// Data is what was captured, from the link layer on; good until the next call of Next. It is nil when a live source has seen
	// nothing for a while (TickEvery): then only Time counts, the present less what a packet may be on its way.
	Data []byte
	// Length is the frame's length on the wire, in bytes. More than len(Data): the snap length cut it.
	Length int
	// LinkType is what Data begins with. It may differ from packet to packet, and be one that nobody knows.
	LinkType layers.LinkType
}

// TickEvery is the longest that a live source waits before Next returns a Packet without Data.
const TickEvery = 250 * time.Millisecond

// Source gives packets, one after the other. Only Stats may be called beside another call.
type Source interface {
	// Next returns the next packet. The error is io.EOF at the end of all, or when the context of the source is done. Any other
	// error ends the source too, in one line that names the place, what was read so far and the remedy; what was read stays good.
	// Behind a *FileError alone Next may be called again: it goes on with the next file.
	Next() (Packet, error)
	// Stats tells how far the source is. Other goroutines may ask.
	Stats() Stats
	// Close frees what the source holds, the Data of the last Packet included.
	Close() error
}

// Stats counts what a source has given so far.
type Stats struct {
	// Packets and Bytes are what Next has returned, the bytes as captured.
	Packets, Bytes uint64
	// Dropped counts the packets that the kernel could not keep: live as the kernel tells, of files as far as they tell
	// (pcapng's interface statistics).
	Dropped uint64
	// Read and Size are the bytes read of the files, and the bytes of all of them, compressed ones as they lie on the disk.
	// Size is 0 when that is not known: live, or stdin among the files.
	Read, Size int64
	// Source names what is read now: a file, or the interfaces.
	Source string
}

package capture

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"time"
)

// The blocks of a pcapng file that matter here (draft-ietf-opsawg-pcapng, section 4).
const (
	blockSection   = 0x0A0D0D0A
	blockInterface = 1
	blockPacket    = 2 // obsolete, and still met
	blockSimple    = 3
	blockStats     = 5
	blockEnhanced  = 6
)

const (
	// byteOrderMagic is the first word of a section's body, in the byte order of the section.
	byteOrderMagic = 0x1A2B3C4D
	// blockFrame is what surrounds the body of a block, in bytes: its type and twice its length.
	blockFrame = 12
	// maxBlock is the longest block that can be, in bytes, as Wireshark has it.
	maxBlock = 16 << 20
	// maxPassed is the longest block that is passed on, in bytes: the longest packet and a book of comments. What is longer (of USB,
	// not of a network) is skipped.
	maxPassed = 1 << 20
	// maxInterfaces and maxDescriptions bound what the reader remembers of a section's interfaces: their number, and their bytes.
	maxInterfaces   = 1 << 16
	maxDescriptions = 16 << 20
	// maxOptions is how far into an interface's description its resolution is looked for, in bytes.
	maxOptions = 4 << 10
	// blockHead is the longest part of a block that is looked at, in bytes: an enhanced packet's, to the length of the packet.
	blockHead = 8 + 20
)

// blocks passes on the blocks of a pcapng file that the reader needs, and stops where one cannot be what it says. The reader behind
// it believes every length, keeps the names and the TLS secrets that a file brings, and so would take what memory a file asks for.
type blocks struct {
	r       *bufio.Reader
	big     bool      // the byte order of the section is big-endian
	devices []device  // of the section
	told    uint32    // the bytes that describe them
	asked   bool      // the reader was asked for a packet and has not got to one
	last    int64     // the offset of the last packet's block
	left    int64     // of the block that is being passed on, in bytes
	at      int64     // the offset of the next byte of r
	time    time.Time // of the packet that was passed on last, where the reader has it inexactly; otherwise zero
	block   int64     // the offset of the block that is being passed on
	err     error     // why there is no more
}

// blockError says what is wrong with a block.
type blockError struct{ problem string }

func (e *blockError) Error() string { return e.problem }

// Read gives as much of one block as p has room for.
func (b *blocks) Read(p []byte) (int, error) {
	for b.left == 0 && b.err == nil {
		b.err = b.enter()
	}
	if b.err != nil {
		return 0, b.err
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.r.Read(p)
	b.left -= int64(n)
	b.at += int64(n)
	if err != nil {
		b.err = cut(err)
	}
	return n, b.err
}

// cut is what the end of the file is to a block that has begun.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// enter looks at the next block: it is passed on whole, or skipped.
func (b *blocks) enter() error {
	b.block = b.at
	head, err := b.r.Peek(blockFrame)
	if err != nil {
		if len(head) == 0 {
			return err
		}
		return cut(err)
	}
	if binary.LittleEndian.Uint32(head) == blockSection { // the same in both byte orders
		switch magic := head[8:]; {
		case binary.BigEndian.Uint32(magic) == byteOrderMagic:
			b.big = true
		case binary.LittleEndian.Uint32(magic) == byteOrderMagic:
			b.big = false
		default:
			return &blockError{"a section begins here without its byte order"}
		}
		b.devices, b.told = b.devices[:0], 0
	}
	size := b.word(head[4:])
	if size < blockFrame || size%4 != 0 || size > maxBlock {
		return &blockError{fmt.Sprintf("a block claims to have %d bytes", size)}
	}
	pass, err := b.check(b.word(head), size)
	if err != nil {
		return err
	}
	if pass {
		b.left = int64(size)
		return nil
	}
	n, err := b.r.Discard(int(size))
	b.at += int64(n)
	return cut(err)
}

func (b *blocks) word(p []byte) uint32 {
	if b.big {
		return binary.BigEndian.Uint32(p)
	}
	return binary.LittleEndian.Uint32(p)
}

// check reports whether the reader needs a block of the type and size. Of a packet's it makes sure that the packet is no longer.
func (b *blocks) check(kind, size uint32) (pass bool, err error) {
	least := shortest(kind)
	if least == 0 || (size > maxPassed && kind != blockInterface && kind != blockSection) {
		return false, nil
	}
	if size < least || size > maxPassed {
		return false, &blockError{fmt.Sprintf("a block of type %d has %d bytes", kind, size)}
	}
	head, err := b.r.Peek(int(min(size, blockHead)))
	if err != nil {
		return false, cut(err)
	}
	switch kind {
	case blockInterface:
		if b.told += size; len(b.devices) == maxInterfaces || b.told > maxDescriptions {
			return false, &blockError{fmt.Sprintf("a section has more than %d interfaces", len(b.devices))}
		}
		if head, err = b.r.Peek(int(min(size, maxOptions))); err != nil {
			return false, cut(err)
		}
		b.devices = append(b.devices, b.describe(head))
	case blockPacket, blockEnhanced:
		if err := b.count(); err != nil {
			return false, err
		}
		if length := b.word(head[20:]); length > size-least {
			return false, &blockError{fmt.Sprintf("a packet claims to have %d bytes in a block of %d", length, size)}
		}
		b.time = b.stamp(kind, head)
	case blockSimple:
		if err := b.count(); err != nil {
			return false, err
		}
		length := b.word(head[8:])
		if len(b.devices) > 0 && b.devices[0].snap != 0 {
			length = min(length, b.devices[0].snap)
		}
		if length > size-least {
			return false, &blockError{fmt.Sprintf("a packet claims to have %d bytes in a block of %d", length, size)}
		}
	}
	return true, nil
}

// shortest is how long a block is without options and data, in bytes; 0: the reader needs none of its type.
func shortest(kind uint32) uint32 {
	switch kind {
	case blockEnhanced, blockPacket:
		return 32
	case blockSection:
		return 28
	case blockInterface:
		return 20
	case blockSimple:
		return 16
	case blockStats:
		return 24
	}
	return 0
}

// count notes that a packet is passed on. If the reader was asked for none, it is still in the block of the last one.
func (b *blocks) count() error {
	if !b.asked {
		b.block = b.last
		return &blockError{"a packet's options go on behind their block"}
	}
	b.asked, b.last = false, b.block
	return nil
}

// device is an interface of a section.
type device struct {
	snap   uint32 // the longest that is kept of a packet, in bytes; 0: all
	binary uint8  // its clock counts in units of 2^-binary s; 0: in a decimal part of a second, which the reader has exactly
	offset int64  // to be added to its clock, in seconds
}

// describe reads the beginning of an interface's block.
func (b *blocks) describe(head []byte) device {
	const resolution, offset = 9, 14
	d := device{snap: b.word(head[12:])}
	for options := head[16:]; len(options) >= 4; {
		word := b.word(options)
		code, length := word&0xffff, word>>16
		if b.big {
			code, length = length, code
		}
		options = options[4:]
		if code == 0 || int(length) > len(options) {
			break
		}
		switch value := options[:length]; {
		case code == resolution && length > 0:
			d.binary = 0
			if exponent := value[0] & 0x7f; value[0] != exponent && exponent < 64 {
				d.binary = exponent
			}
		case code == offset && length >= 8:
			if b.big {
				d.offset = int64(binary.BigEndian.Uint64(value))
			} else {
				d.offset = int64(binary.LittleEndian.Uint64(value))
			}
		}
		options = options[min(int(length+3)&^3, len(options)):]
	}
	return d
}

// stamp is the time of a packet from a clock that counts in binary parts of a second: the reader makes whole nanoseconds of the unit
// before it multiplies, which at 2^-32 s is wrong by a fourteenth.
func (b *blocks) stamp(kind uint32, head []byte) time.Time {
	id := b.word(head[8:])
	if kind == blockPacket { // half of the word is another count
		if b.big {
			id >>= 16
		}
		id &= 0xffff
	}
	if int(id) >= len(b.devices) || b.devices[id].binary == 0 {
		return time.Time{}
	}
	d := b.devices[id]
	ticks := uint64(b.word(head[12:]))<<32 | uint64(b.word(head[16:]))
	high, low := bits.Mul64(ticks&(1<<d.binary-1), uint64(time.Second))
	return time.Unix(int64(ticks>>d.binary)+d.offset, int64(high<<(64-d.binary)|low>>d.binary)).UTC()
}

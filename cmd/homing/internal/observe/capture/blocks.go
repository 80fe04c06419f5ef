package capture

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
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
	// blockHead is the longest part of a block that is looked at, in bytes: an enhanced packet's, to the length of the packet.
	blockHead = 8 + 20
)

// blocks passes on the blocks of a pcapng file that the reader needs, and stops where one cannot be what it says. The reader behind
// it believes every length, keeps the names and the TLS secrets that a file brings, and so would take what memory a file asks for.
type blocks struct {
	r     *bufio.Reader
	big   bool     // the byte order of the section is big-endian
	snaps []uint32 // the snap lengths of the section's interfaces; 0: none
	told  uint32   // the bytes that describe them
	asked bool     // the reader was asked for a packet and has not got to one
	last  int64    // the offset of the last packet's block
	left  int64    // of the block that is being passed on, in bytes
	at    int64    // the offset of the next byte of r
	block int64    // the offset of the block that is being passed on
	err   error    // why there is no more
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
		b.snaps, b.told = b.snaps[:0], 0
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
		if b.told += size; len(b.snaps) == maxInterfaces || b.told > maxDescriptions {
			return false, &blockError{fmt.Sprintf("a section has more than %d interfaces", len(b.snaps))}
		}
		b.snaps = append(b.snaps, b.word(head[12:]))
	case blockPacket, blockEnhanced:
		if err := b.count(); err != nil {
			return false, err
		}
		if length := b.word(head[20:]); length > size-least {
			return false, &blockError{fmt.Sprintf("a packet claims to have %d bytes in a block of %d", length, size)}
		}
	case blockSimple:
		if err := b.count(); err != nil {
			return false, err
		}
		length := b.word(head[8:])
		if len(b.snaps) > 0 && b.snaps[0] != 0 {
			length = min(length, b.snaps[0])
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

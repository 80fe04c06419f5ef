package tlsparse

// A cursor is the unread rest of some bytes from the wire. It is the only place
// in this package that checks bounds: wire bytes are never indexed or sliced
// elsewhere. Each read method reports whether it was successful; one that was
// not leaves the cursor where it was.
type cursor []byte

// cursorAt returns the part of b that begins at offset off.
func cursorAt(b []byte, off int) (c cursor, ok bool) {
	c = b
	return c, c.skip(off)
}

func (c *cursor) empty() bool { return len(*c) == 0 }

// readBytes returns the next n bytes, aliasing the underlying array.
func (c *cursor) readBytes(out *[]byte, n int) bool {
	if n < 0 || n > len(*c) {
		return false
	}
	*out = (*c)[:n:n]
	*c = (*c)[n:]
	return true
}

func (c *cursor) skip(n int) bool {
	var skipped []byte
	return c.readBytes(&skipped, n)
}

func (c *cursor) readUint8(out *uint8) bool {
	var v []byte
	if !c.readBytes(&v, 1) {
		return false
	}
	*out = v[0]
	return true
}

func (c *cursor) readUint16(out *uint16) bool {
	var v []byte
	if !c.readBytes(&v, 2) {
		return false
	}
	*out = uint16(v[0])<<8 | uint16(v[1])
	return true
}

func (c *cursor) readUint24(out *uint32) bool {
	var v []byte
	if !c.readBytes(&v, 3) {
		return false
	}
	*out = uint32(v[0])<<16 | uint32(v[1])<<8 | uint32(v[2])
	return true
}

func (c *cursor) readUint32(out *uint32) bool {
	var v []byte
	if !c.readBytes(&v, 4) {
		return false
	}
	*out = uint32(v[0])<<24 | uint32(v[1])<<16 | uint32(v[2])<<8 | uint32(v[3])
	return true
}

// readVector8 reads a vector whose length is one byte (RFC 9846, Section 3.4).
func (c *cursor) readVector8(out *cursor) bool {
	s := *c
	var n uint8
	if !s.readUint8(&n) || !s.readBytes((*[]byte)(out), int(n)) {
		return false
	}
	*c = s
	return true
}

// readVector16 reads a vector whose length is two bytes (RFC 9846, Section 3.4).
func (c *cursor) readVector16(out *cursor) bool {
	s := *c
	var n uint16
	if !s.readUint16(&n) || !s.readBytes((*[]byte)(out), int(n)) {
		return false
	}
	*c = s
	return true
}

// readUpTo returns the next n bytes, or fewer when the cursor ends before.
func (c *cursor) readUpTo(n int) []byte {
	var v []byte
	if !c.readBytes(&v, min(n, len(*c))) {
		return nil
	}
	return v
}

// fill moves bytes into dst behind the first have of them until dst is full or
// the cursor is empty. It returns how many bytes dst holds now.
func (c *cursor) fill(dst []byte, have uint8) uint8 {
	if int(have) > len(dst) {
		return have
	}
	n := copy(dst[have:], *c)
	*c = (*c)[n:]
	return have + uint8(n)
}

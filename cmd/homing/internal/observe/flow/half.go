package flow

import (
	"bytes"
	"slices"
)

// The library puts segments in order and keeps those that are ahead. What it does with a byte that comes twice is no
// receiver's way: a copy of what it has passed on is dropped unseen, a copy of what is queued replaces it, where Linux keeps
// the one, the other, or the lower segment's, as the segments lie. Nor has every copy reached the server: it may have had a
// wrong checksum, an old timestamp, or too few hops to live. So all copies are compared here, before the library has them,
// and a conn with two versions of a byte is not judged; then it does not matter which copy the library takes.

const (
	// maxAhead is how far ahead of what is missing a side's segments are kept, in bytes: a first flight is ten segments for most
	// senders (RFC 6928), and two frames of 64 KiB for those whose card cuts them up. maxAheadSegments is how many.
	maxAhead         = 128 << 10
	maxAheadSegments = 256
	// maxAheadCost is what they may take with the library's copies, in bytes. It keeps pages of pageCost, about, each with
	// pageSize bytes of one segment or less.
	maxAheadCost = 3 * maxAhead
	pageCost     = 2100
	pageSize     = 1900
)

// segment is a part of a stream, at an offset from its begin.
type segment struct {
	at   int
	data []byte
}

// half is what one side sends, in the handshake.
type half struct {
	known  bool      // begin is
	begin  uint32    // sequence number of the stream's first byte
	stream []byte    // from its first byte on, as far as nothing is missing
	ahead  []segment // copies of those that are behind what is missing
	cost   int       // of ahead, with the library's copies
	acked  int       // offset up to which the other side has had the stream, at least
	fin    int       // offset of FIN; -1: none was seen
	cutAt  int       // least offset behind what was captured of a segment that goes on; -1: none
	lost   bool      // the stream goes on behind something that is missing, and that was not kept
}

func (h *half) reset() {
	for i := range h.ahead {
		h.ahead[i] = segment{}
	}
	*h = half{stream: h.stream[:0], ahead: h.ahead[:0], fin: -1, cutAt: -1}
}

// at is the offset of a sequence number: of those 2^31 before and behind the stream's end, as receivers see it (RFC 9293,
// Section 3.4).
func (h *half) at(seq uint32) int {
	next := h.begin + uint32(len(h.stream))
	return len(h.stream) + int(int32(seq-next))
}

// contradicts says whether b, at an offset, has another byte than what has come before at the same place.
func (h *half) contradicts(at int, b []byte) bool {
	if differ(0, h.stream, at, b) {
		return true
	}
	for _, s := range h.ahead {
		if differ(s.at, s.data, at, b) {
			return true
		}
	}
	return false
}

// differ says whether two parts of a stream are unlike where both have it.
func differ(at int, a []byte, bt int, b []byte) bool {
	from, to := max(at, bt), min(at+len(a), bt+len(b))
	return from < to && !bytes.Equal(a[from-at:to-at], b[from-bt:to-bt])
}

// costOf is what a segment takes that is ahead.
func costOf(b []byte) int { return len(b) + (len(b)+pageSize-1)/pageSize*pageCost }

// keep notes b as ahead. It reports whether there was room.
func (h *half) keep(at int, b []byte) bool {
	cost := costOf(b)
	if len(h.ahead) >= maxAheadSegments || h.cost+cost > maxAheadCost {
		return false
	}
	h.ahead = append(h.ahead, segment{at: at, data: bytes.Clone(b)})
	h.cost += cost
	return true
}

// covers says whether n bytes from an offset on are ahead already.
func (h *half) covers(at, n int) bool {
	return slices.ContainsFunc(h.ahead, func(s segment) bool { return s.at <= at && at+n <= s.at+len(s.data) })
}

// caughtUp drops what is no longer ahead.
func (h *half) caughtUp() {
	n := len(h.stream)
	left := h.ahead[:0]
	h.cost = 0
	for _, s := range h.ahead {
		if s.at+len(s.data) > n {
			left = append(left, s)
			h.cost += costOf(s.data)
		}
	}
	clear(h.ahead[len(left):])
	h.ahead = left
}

// missing says whether the stream is known to go on behind its end as we have it. FIN is acknowledged as a byte.
func (h *half) missing() bool {
	acked := h.acked
	if h.fin >= 0 && acked == h.fin+1 {
		acked--
	}
	return h.lost || len(h.ahead) > 0 || acked > len(h.stream) || h.fin > len(h.stream) || h.cutAt >= 0
}

// whole says whether no segment was cut where the stream is known. What comes there another time may be something else: the
// part that was not captured cannot be compared.
func (h *half) whole() bool { return h.cutAt < 0 || h.cutAt >= len(h.stream) }

// ended says whether the stream is here up to its FIN.
func (h *half) ended() bool { return h.fin >= 0 && len(h.stream) >= h.fin }

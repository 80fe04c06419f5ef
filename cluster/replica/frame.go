package replica

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"homing/balancer/affinity"
	"homing/cluster/bound"
)

// protocolVersion is the first byte of every frame.
const protocolVersion = 2

// A frame is a header of six bytes and its payload, all numbers big-endian:
//
//	version (1) | type (1) | length of the payload (4) | payload
const (
	frameHeader = 6

	// maxPayload bounds what a peer can make us hold: one batch of batchFacts with a run for each fact is 25 kB.
	maxPayload = 32 << 10

	// batchFacts is the most facts of one frame: one TLS record, 16 KiB.
	batchFacts = 960
)

// frameType says what a frame's payload is.
type frameType uint8

const (
	frameHello  frameType = 1 + iota // see hello; the first frame in either direction, and only there
	frameFacts                       // 8B sequence of the first, then runs of facts in the order they were learned
	frameAck                         // 8B sequence, 8B parts: all up to there has been merged; also a sign of life
	frameResync                      // 8B sequence: parts of the whole table follow, which hold all up to there
	framePart                        // 8B number of the part, from 1; then runs
	frameDone                        // 8B parts: that was the last one
	frameOpen                        // 8B conns: of a process that was replaced, to its heir only; see forward.go
)

// String is the word in errors.
func (t frameType) String() string {
	words := [...]string{"type 0", "hello", "facts", "ack", "resync", "part", "done", "open"}
	if int(t) < len(words) {
		return words[t]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// hello is what nodes say of themselves when a stream opens.
type hello struct {
	helloHead
	Node string // ID of the node; its length goes before it, 1 byte
}

// helloHead is what of a hello has a fixed size, in the order of the wire.
type helloHead struct {
	Instance uint64 // random: sequences are those of one life of a process
	Wall     int64  // time of its store, Unix nanoseconds
	Skew     int64  // answer only: seconds that the answering clock is ahead of the other
	Seed     affinity.Seed
	Standing standing

	// What was received from the other node up to now: everything up to sequence Last of its life LastInstance. 0 =
	// nothing, or not everything.
	LastInstance uint64
	Last         uint64
}

// standing is what a node has to lose by taking another seed.
type standing uint8

const (
	standingEmpty  standing = iota // it knows nothing
	standingAlone                  // it has facts of its own, or of before it was started
	standingMember                 // it has met a node with the same seed since it started
)

const (
	helloFixed = 8 + 8 + 8 + 8 + 4 + 1 + 8 + 8 + 1 // helloHead, and the length of the ID

	// A run is facts that differ in key, ID, time and span only:
	//
	//	kind (1) | length of the ticket key (1) | pool (4) | n (2) | n times: key (8), ID (4), time (4), span (1)
	runHeader = 8
	factSize  = 17
)

// errVersion marks a frame of a version that this node does not speak.
var errVersion = errors.New("speaks another version")

// errForeign marks a frame that has no place where it comes.
var errForeign = errors.New("in the middle of a stream")

// beginFrame appends a frame's header. endFrame sets its length, once the payload has been appended.
func beginFrame(b []byte, t frameType) []byte {
	return append(b, protocolVersion, byte(t), 0, 0, 0, 0)
}

func endFrame(b []byte, start int) []byte {
	binary.BigEndian.PutUint32(b[start+2:], uint32(len(b)-start-frameHeader))
	return b
}

// frame is the hello as it goes over the wire.
func (h *hello) frame() []byte {
	b, _ := binary.Append(beginFrame(nil, frameHello), binary.BigEndian, &h.helloHead) // its size is fixed: no error
	return endFrame(append(append(b, byte(len(h.Node))), h.Node...), 0)
}

func parseHello(b []byte) (h hello, err error) {
	if len(b) < helloFixed || len(b) != helloFixed+int(b[helloFixed-1]) {
		return hello{}, fmt.Errorf("a hello of %d bytes", len(b))
	}
	if _, err := binary.Decode(b, binary.BigEndian, &h.helloHead); err != nil {
		return hello{}, err
	}
	h.Node = string(b[helloFixed:])
	if h.Node == "" || len(h.Node) > bound.MaxID || h.Seed.Value == 0 || h.Instance == 0 {
		return hello{}, errors.New("a hello without node, seed or instance")
	}
	return h, nil
}

// appendNumbers is a frame of numbers alone: ack, resync, done.
func appendNumbers(b []byte, t frameType, numbers ...uint64) []byte {
	start := len(b)
	b = beginFrame(b, t)
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return endFrame(b, start)
}

// parseNumbers fills numbers from a payload of exactly that many.
func parseNumbers(b []byte, numbers ...*uint64) error {
	if len(b) != 8*len(numbers) {
		return fmt.Errorf("%d bytes for %d numbers", len(b), len(numbers))
	}
	for i, n := range numbers {
		*n = binary.BigEndian.Uint64(b[8*i:])
	}
	return nil
}

// appendBatch is a frame of a number and facts: facts, part.
func appendBatch(b []byte, t frameType, number uint64, facts []affinity.Fact) []byte {
	start := len(b)
	b = beginFrame(b, t)
	b = binary.BigEndian.AppendUint64(b, number)
	b = appendFacts(b, facts)
	return endFrame(b, start)
}

// appendFacts appends facts in runs. The pool of an entry or a client is in its key.
func appendFacts(b []byte, facts []affinity.Fact) []byte {
	for len(facts) > 0 {
		n := 1
		for n < len(facts) && n < 1<<16-1 && sameRun(&facts[0], &facts[n]) {
			n++
		}
		f := &facts[0]
		b = append(b, byte(f.Kind), f.Length)
		b = binary.BigEndian.AppendUint32(b, runPool(f))
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		for i := range facts[:n] {
			f := &facts[i]
			b = binary.BigEndian.AppendUint64(b, uint64(f.Key))
			b = binary.BigEndian.AppendUint32(b, f.ID)
			b = binary.BigEndian.AppendUint32(b, f.Time)
			b = append(b, f.Span)
		}
		facts = facts[n:]
	}
	return b
}

func sameRun(a, b *affinity.Fact) bool {
	return a.Kind == b.Kind && a.Length == b.Length && runPool(a) == runPool(b)
}

func runPool(f *affinity.Fact) uint32 {
	if f.Kind == affinity.FactEntry || f.Kind == affinity.FactClient {
		return 0
	}
	return f.Pool
}

// parse reads the payload of a frame that is no hello: its numbers, and its facts, which are appended to facts.
func (t frameType) parse(b []byte, facts []affinity.Fact) (n, parts uint64, _ []affinity.Fact, err error) {
	switch t {
	case frameFacts, framePart:
		n, facts, err = parseBatch(b, facts)
	case frameAck:
		err = parseNumbers(b, &n, &parts)
	case frameResync, frameDone, frameOpen:
		err = parseNumbers(b, &n)
	case frameHello:
		err = errForeign
	default:
		err = errors.New("unknown to this version")
	}
	return n, parts, facts, err
}

// parseBatch is the number and the facts of a payload, the latter appended to facts.
func parseBatch(b []byte, facts []affinity.Fact) (number uint64, _ []affinity.Fact, err error) {
	if len(b) < 8 {
		return 0, facts, fmt.Errorf("a batch of %d bytes", len(b))
	}
	facts, err = parseFacts(b[8:], facts)
	return binary.BigEndian.Uint64(b), facts, err
}

// parseFacts reads runs to the end of b.
func parseFacts(b []byte, facts []affinity.Fact) ([]affinity.Fact, error) {
	for len(b) > 0 {
		if len(b) < runHeader {
			return facts, fmt.Errorf("%d bytes behind the last run", len(b))
		}
		kind, n := affinity.FactKind(b[0]), int(binary.BigEndian.Uint16(b[6:]))
		head := affinity.Fact{Kind: kind, Length: b[1], Pool: binary.BigEndian.Uint32(b[2:])}
		b = b[runHeader:]
		if kind > affinity.FactClient || n == 0 || len(b) < n*factSize {
			return facts, fmt.Errorf("a run of %d facts of kind %d in %d bytes", n, kind, len(b))
		}
		for range n {
			f := head
			f.Key = affinity.Key(binary.BigEndian.Uint64(b))
			f.ID = binary.BigEndian.Uint32(b[8:])
			f.Time = binary.BigEndian.Uint32(b[12:])
			f.Span = b[16]
			facts = append(facts, f)
			b = b[factSize:]
		}
	}
	return facts, nil
}

// frameReader reads frames. It holds one at a time.
type frameReader struct {
	r       *bufio.Reader
	payload []byte
	bytes   uint64 // read up to now
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, frameHeader+maxPayload)}
}

// next is the next frame. The payload is good until the next call.
func (r *frameReader) next() (frameType, []byte, error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return 0, nil, err
	}
	if head[0] != protocolVersion {
		return 0, nil, fmt.Errorf("%w, %d, and this node %d", errVersion, head[0], protocolVersion)
	}
	n := binary.BigEndian.Uint32(head[2:])
	if n > maxPayload {
		return 0, nil, fmt.Errorf("a frame of %d bytes", n)
	}
	if cap(r.payload) < int(n) {
		r.payload = make([]byte, maxPayload)
	}
	r.payload = r.payload[:n]
	if _, err := io.ReadFull(r.r, r.payload); err != nil {
		return 0, nil, err
	}
	r.bytes += uint64(frameHeader + int(n))
	return frameType(head[1]), r.payload, nil
}

// closeWith closes c when ctx is done. The function it returns ends that.
func closeWith(ctx context.Context, c io.Closer) func() bool {
	return context.AfterFunc(ctx, func() { c.Close() })
}

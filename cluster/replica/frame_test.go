package replica

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/quick"

	"homing/balancer/affinity"
	"homing/cluster/bound"
)

func TestHelloRoundTrip(t *testing.T) {
	f := func(instance, seed, last, lastInstance uint64, wall, skew int64, made uint32, rank uint8, node string) bool {
		h := hello{helloHead{
			Instance: instance | 1, Wall: wall, Skew: skew,
			Seed: affinity.Seed{Value: seed | 1, Made: made}, Standing: standing(rank), LastInstance: lastInstance,
			Last: last,
		}, "n" + node[:min(len(node), bound.MaxID-1)]}
		kind, payload, err := newFrameReader(bytes.NewReader(h.frame())).next()
		if err != nil || kind != frameHello {
			return false
		}
		for cut := range payload {
			if _, err := parseHello(payload[:cut]); err == nil {
				t.Errorf("%d of %d bytes are a hello", cut, len(payload))
			}
		}
		got, err := parseHello(payload)
		return err == nil && got == h
	}
	if err := quick.Check(f, nil); err != nil {
		t.Error(err)
	}
}

func TestHelloRefused(t *testing.T) {
	good := hello{helloHead{Instance: 1, Seed: affinity.Seed{Value: 1}}, "n"}
	for _, tt := range []struct {
		sentence string
		edit     func(*hello)
	}{
		{"without a node", func(h *hello) { h.Node = "" }},
		{"with too long an ID", func(h *hello) { h.Node = strings.Repeat("n", bound.MaxID+1) }},
		{"without an instance", func(h *hello) { h.Instance = 0 }},
		{"without a seed", func(h *hello) { h.Seed.Value = 0 }},
	} {
		h := good
		tt.edit(&h)
		if _, err := parseHello(h.frame()[frameHeader:]); err == nil {
			t.Errorf("a hello %s passes", tt.sentence)
		}
	}
	if _, err := parseHello(append(good.frame(), 0)[frameHeader:]); err == nil {
		t.Error("a hello with a byte behind it passes")
	}
}

// someFacts makes facts of all kinds, often in runs.
func someFacts(r *rand.Rand, n int) []affinity.Fact {
	var facts []affinity.Fact
	for len(facts) < n {
		kind := affinity.FactKind(r.IntN(4))
		head := affinity.Fact{Kind: kind}
		if kind == affinity.FactKeyHome || kind == affinity.FactKeyGone {
			head.Length, head.Pool = uint8(affinity.PrefixLen(r.IntN(affinity.NumLengths))), r.Uint32()
		}
		for range 1 + r.IntN(5) {
			f := head
			f.Key, f.ID, f.Time, f.Span = affinity.Key(r.Uint64()), r.Uint32(), r.Uint32(), uint8(r.Uint32())
			facts = append(facts, f)
		}
	}
	return facts[:n]
}

func TestBatchRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100 {
		facts := someFacts(r, r.IntN(batchFacts+1))
		frame := appendBatch(nil, frameFacts, 77, facts)
		if len(frame) > frameHeader+maxPayload {
			t.Fatalf("%d facts in a frame of %d bytes", len(facts), len(frame))
		}
		kind, payload, err := newFrameReader(iotest.OneByteReader(bytes.NewReader(frame))).next()
		if err != nil || kind != frameFacts {
			t.Fatalf("%s, %v", kind, err)
		}
		n, got, err := parseBatch(payload, nil)
		if err != nil || n != 77 || !slices.Equal(got, facts) {
			t.Fatalf("%d, %v: got %d facts of %d", n, err, len(got), len(facts))
		}
	}
}

// TestBatchSize: what the figures per session rest on, and the worst that fits.
func TestBatchSize(t *testing.T) {
	entries := make([]affinity.Fact, batchFacts)
	for i := range entries {
		entries[i] = affinity.Fact{Kind: affinity.FactEntry, Pool: uint32(i), Key: 1}
	}
	if n := len(appendBatch(nil, frameFacts, 1, entries)); n != frameHeader+8+runHeader+batchFacts*factSize {
		t.Errorf("%d entries of many pools in %d bytes", batchFacts, n)
	}
	for i := range entries {
		entries[i].Kind = affinity.FactKeyHome
	}
	if n := len(appendFacts(nil, entries)) + 8; n > maxPayload {
		t.Errorf("%d ticket keys of many pools in %d bytes", batchFacts, n)
	}
}

func TestFrameRefused(t *testing.T) {
	for _, tt := range []struct {
		sentence string
		frame    []byte
		is       error
		says     string
	}{
		{"nothing", nil, io.EOF, ""},
		{"half a header", []byte{protocolVersion, 2, 0}, io.ErrUnexpectedEOF, ""},
		{"a header alone", []byte{protocolVersion, 2, 0, 0, 0, 1}, io.EOF, ""},
		{"another version", []byte{1, 2, 0, 0, 0, 0}, errVersion, "speaks another version, 1, and this node 2"},
		{"too long", []byte{protocolVersion, 2, 0, 0, 0x80, 1}, nil, "a frame of 32769 bytes"},
	} {
		_, _, err := newFrameReader(bytes.NewReader(tt.frame)).next()
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.sentence, err)
		}
	}
}

func TestFactsRefused(t *testing.T) {
	good := appendFacts(nil, []affinity.Fact{{Kind: affinity.FactEntry, Key: 1}, {Kind: affinity.FactEntry, Key: 2}})
	for cut := 1; cut < len(good); cut++ {
		if _, err := parseFacts(good[:cut], nil); err == nil {
			t.Errorf("%d of %d bytes pass", cut, len(good))
		}
	}
	for at, b := range map[int]byte{0: 9 /* kind */, 7: 0 /* count */} {
		bad := bytes.Clone(good)
		bad[at] = b
		if _, err := parseFacts(bad, nil); err == nil {
			t.Errorf("byte %d as %d passes", at, b)
		}
	}
	var n uint64
	if parseNumbers(make([]byte, 7), &n) == nil || parseNumbers(make([]byte, 9), &n) == nil {
		t.Error("numbers of odd sizes pass")
	}
	if _, _, err := parseBatch(make([]byte, 7), nil); err == nil {
		t.Error("half a number passes")
	}
}

func TestFrameWords(t *testing.T) {
	var got []string
	for _, f := range []frameType{frameHello, frameFacts, frameAck, frameResync, framePart, frameDone, 99} {
		got = append(got, f.String())
	}
	if want := []string{"hello", "facts", "ack", "resync", "part", "done", "type 99"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// FuzzFrames: whatever comes, no panic, and what is read is written the same.
func FuzzFrames(f *testing.F) {
	h := hello{helloHead{
		Instance: 1, Wall: 2, Skew: -3, Seed: affinity.Seed{Value: 4, Made: 5}, LastInstance: 6,
		Last: 7,
	}, "n"}
	f.Add(h.frame())
	f.Add(appendNumbers(nil, frameAck, 1, 2))
	f.Add(appendBatch(nil, frameFacts, 1, someFacts(rand.New(rand.NewPCG(1, 2)), 10)))
	f.Add(appendNumbers(appendNumbers(nil, frameResync, 9), frameDone, 0))
	f.Add([]byte{2, 1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for r := newFrameReader(bytes.NewReader(b)); ; {
			kind, payload, err := r.next()
			if err != nil {
				return
			}
			if h, err := parseHello(payload); err == nil {
				if again := h.frame()[frameHeader:]; !bytes.Equal(again, payload) {
					t.Errorf("hello %x becomes %x", payload, again)
				}
			}
			if n, facts, err := parseBatch(payload, nil); err == nil {
				_, again, err := parseBatch(appendBatch(nil, kind, n, facts)[frameHeader:], nil)
				if err != nil || !reflect.DeepEqual(clean(facts), clean(again)) {
					t.Errorf("%v, %v become %v", err, facts, again)
				}
			}
		}
	})
}

// clean takes away what facts are not told apart by: the pool of an entry.
func clean(facts []affinity.Fact) []affinity.Fact {
	for i := range facts {
		facts[i].Pool = runPool(&facts[i])
	}
	return facts
}

package tlsparse

import (
	"bytes"
	"testing"
)

// discarding reads a stream in chunks of n bytes as somebody does who keeps no record that was passed over, and returns what is
// found and the most that had to be kept between two chunks.
func discarding(stream []byte, n int) (r reading, kept int) {
	c := newClient(0, true)
	var have []byte
	for len(stream) > 0 {
		chunk := stream[:min(n, len(stream))]
		stream = stream[len(chunk):]
		have = append(have, chunk...)
		st := c.Next(have)
		if st != NeedMore {
			return finish(c, have, st), kept
		}
		have = have[c.Discard():]
		if !c.begun {
			kept = max(kept, len(have))
		}
	}
	return finish(c, have, NeedMore), kept
}

// What is passed over before a second hello need not be kept, and changes nothing about it.
func TestClientDiscard(t *testing.T) {
	msg := fullHello().message()
	want := read(cut(msg), 0, false)
	for name, before := range map[string][]byte{
		"nothing":           nil,
		"ChangeCipherSpec":  record(20, []byte{1}),
		"early data":        join(record(23, make([]byte, 5000)), record(23, make([]byte, 7000))),
		"both, in turns":    join(record(20, []byte{1}), record(23, make([]byte, 50)), record(20, []byte{1}), record(23, make([]byte, 3))),
		"an empty record":   record(22, nil),
		"empty early data":  record(23, nil),
		"too much for both": join(record(23, make([]byte, 9000)), record(23, make([]byte, 9000))),
	} {
		for _, stream := range [][]byte{join(before, cut(msg)), join(before, cutEach(msg, 3)), join(before, cut(msg), []byte("more"))} {
			whole := read(stream, 0, true)
			if (whole.status == Got) != (len(before) < DefaultHelloLimit) || whole.status == Got && !whole.equal(&want) {
				t.Fatalf("%s: %v", name, &whole)
			}
			for _, n := range []int{1, 2, 5, 6, 7, 100, 6000, len(stream)} {
				if got, kept := discarding(stream, n); !got.equal(&whole) || kept >= recordHeaderLen {
					t.Errorf("%s, in chunks of %d, %d bytes kept:\n%s", name, n, kept, &got)
				}
			}
		}
	}
}

func TestClientEndsRecord(t *testing.T) {
	msg := fullHello().message()
	for _, test := range []struct {
		stream []byte
		want   bool
	}{
		{cut(msg), true},
		{cut(msg, 10, 200), true},
		{join(cut(msg), cut(msg)), true},
		{record(22, join(msg, []byte{0})), false},
		{record(22, join(msg, msg)), false},
		{record(22, join(msg, []byte{0}))[:5+len(msg)], false}, // the rest is on its way
		{join(record(22, msg[:9]), record(22, bytes.Clone(append(msg[9:], 1)))), false},
	} {
		c := newClient(0, false)
		if st := c.Next(test.stream); st != Got || c.EndsRecord() != test.want {
			t.Errorf("%v for %d bytes, ends its record: %v", st, len(test.stream), c.EndsRecord())
		}
	}
}

package tlsparse

import (
	"testing"
)

// sizes makes chunk sizes from a fuzzer's bytes; 0 is a chunk of nothing, or for
// the server side all the rest.
func sizes(cuts []byte) []int {
	if len(cuts) == 0 {
		return []int{0}
	}
	out := make([]int, len(cuts))
	for i, b := range cuts {
		out[i] = int(b)
	}
	return out
}

// FuzzClient asserts of any bytes, in any chunks, whole and over any records:
// the answer is the naive parser's, and where it is Got, crypto/tls has not read
// anything else.
func FuzzClient(f *testing.F) {
	for _, g := range loadGoldens(f) {
		f.Add(g.stream, []byte{1, 100, 0, 7}, g.second)
	}
	for _, tr := range loadTranscripts(f) {
		f.Add(tr.client, []byte{200}, false)
	}
	f.Add(cut(fullHello().message(), 1, 2, 300), []byte{3}, false)
	f.Add([]byte("\x80\x2e\x01\x03\x01"), []byte{1}, false)
	w := newWitness(f)
	f.Fuzz(func(t *testing.T, stream, cuts []byte, second bool) {
		for _, limit := range []int{300, 16 << 10, MaxHelloLimit} {
			whole := read(stream, limit, second)
			if d := whole.differs(naiveClient(stream, limit, second)); d != "" {
				t.Fatalf("limit %d: %s", limit, d)
			}
			c := newClient(limit, second)
			st, at := NeedMore, 0
			for i := 0; st == NeedMore && at < len(stream) && i < 1<<12; i++ {
				at = min(at+sizes(cuts)[i%max(1, len(cuts))], len(stream))
				st = c.Next(stream[:at])
			}
			if st == NeedMore {
				st = c.Next(stream)
			}
			if got := finish(c, stream, st); got.end != whole.end || !got.equal(&whole) {
				t.Fatalf("limit %d, in chunks:\n%swhole:\n%s", limit, &got, &whole)
			}
		}
		r := read(stream, 0, second)
		if c := newClient(300, second); c.Next(stream) == Invalid && r.status == Got {
			var h Hello
			c.ParsePart(stream, make([]byte, 300), &h)
			if want := naivePart(naiveFrame(stream, DefaultHelloLimit, second).message, 300); c.TooLong() && !second && string(h.ServerName()) != want {
				t.Fatalf("name %q in the first 300 bytes, want %q", h.ServerName(), want)
			}
		}
		if r.status != Got {
			return
		}
		recut(t, stream, cuts, second)
		if !second {
			w.show(stream)
			if d := w.disagrees(&r.hello); d != "" {
				t.Fatal(d)
			}
		}
	})
}

// recut cuts the hello in stream anew over records of the sizes given.
func recut(t *testing.T, stream, cuts []byte, second bool) {
	t.Helper()
	want := read(stream, 0, second)
	msg := naiveFrame(stream, DefaultHelloLimit, second).message
	var lengths []int
	for left, i := len(msg), 0; left > 0 && i < len(cuts); i++ {
		n := min(int(cuts[i])+1, left)
		lengths = append(lengths, n)
		left -= n
	}
	again := cut(msg, lengths...)
	if len(again)-recordHeaderLen*(len(lengths)+1) > maxPlaintext {
		return // a record that may not be
	}
	got := read(again, 0, false)
	if !got.equal(&want) {
		t.Fatalf("over other records:\n%sthan\n%s", &got, &want)
	}
}

// FuzzServer asserts of any bytes, in any chunks, that the events and all they
// give are those of the naive parser.
func FuzzServer(f *testing.F) {
	for _, tr := range loadTranscripts(f) {
		f.Add(tr.server, []byte{1, 100, 7})
	}
	for _, tt := range serverCases() {
		if len(tt.stream) < 5000 {
			f.Add(tt.stream, []byte{3})
		}
	}
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		var s Server
		whole := trace(&s, stream, 0)
		id := string(s.SessionID())
		if naive := naiveServer(stream); naive != whole {
			t.Fatalf("\n  got %s\nnaive %s", whole, naive)
		}
		if got := trace(&s, stream, sizes(cuts)...); got != whole || string(s.SessionID()) != id {
			t.Fatalf("in chunks %s\nwhole %s", got, whole)
		}
	})
}

//go:build linux

package netio

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"unsafe"
)

func newBuffers(t *testing.T, limit int64) *Buffers {
	t.Helper()
	p := NewBuffers(limit)
	t.Cleanup(func() {
		if p.Used() != 0 {
			t.Errorf("%d bytes lost", p.Used())
		}
		p.shut()
		if p.Used() != 0 || p.slabs != nil {
			t.Error("shut leaves something")
		}
	})
	return p
}

func TestBuffersClasses(t *testing.T) {
	t.Parallel()
	p := newBuffers(t, 1<<30)
	for _, tt := range []struct{ n, want int }{
		{0, 1 << 10},
		{1, 1 << 10},
		{1 << 10, 1 << 10},
		{1<<10 + 1, 2 << 10},
		{2 << 10, 2 << 10},
		{16<<10 + 1, 32 << 10},
		{256<<10 + 1, 512 << 10},
		{MaxBuffer, MaxBuffer},
		{MaxBuffer + 1, 0},
		{1 << 40, 0},
	} {
		b := p.Get(tt.n)
		if len(b) != 0 || cap(b) != tt.want || (b == nil) != (tt.want == 0) {
			t.Errorf("Get(%d): length %d, capacity %d, want %d", tt.n, len(b), cap(b), tt.want)
		}
		if p.Used() != int64(tt.want) {
			t.Errorf("Get(%d): %d used", tt.n, p.Used())
		}
		p.Put(b)
	}
	p.Put(nil)
	p.Put([]byte{})
}

// No two buffers share a byte, and each is used again.
func TestBuffersApart(t *testing.T) {
	t.Parallel()
	p := newBuffers(t, 64<<20)
	random := rand.New(rand.NewPCG(1, 1))
	var held [][]byte
	mapped := 0
	for round := range 4000 {
		if round == 2000 {
			mapped = len(p.slabs)
		}
		if len(held) > 300 || len(held) > 0 && random.IntN(3) == 0 {
			i := random.IntN(len(held))
			b := held[i]
			for _, x := range b {
				if x != b[0] {
					t.Fatalf("round %d: somebody else has written here", round)
				}
			}
			p.Put(b[:0]) // length does not matter
			held[i] = held[len(held)-1]
			held = held[:len(held)-1]
			continue
		}
		b := p.Get(random.IntN(8 << 10))
		b = b[:cap(b)]
		for i := range b {
			b[i] = byte(round)
		}
		held = append(held, b)
	}
	if len(p.slabs) > mapped+2 {
		t.Errorf("%d slabs, then %d: memory is not used again", mapped, len(p.slabs))
	}
	for _, b := range held {
		p.Put(b)
	}
}

func TestBuffersLimits(t *testing.T) {
	t.Parallel()
	p := newBuffers(t, 8<<10)
	var held [][]byte
	for i := 1; i <= 16; i++ {
		b := p.Get(1)
		if b == nil {
			t.Fatalf("refused at %d bytes, below the hard limit", p.Used())
		}
		held = append(held, b)
		if over := i > 8; p.Over() != over {
			t.Errorf("Over is %t with %d KiB", p.Over(), i)
		}
	}
	if b := p.Get(1); b != nil {
		t.Error("given beyond the hard limit")
	}
	p.Put(held[0])
	if b := p.Get(1<<10 + 1); b != nil {
		t.Error("given beyond the hard limit: 2 KiB with 15 used of 16")
	}
	held[0] = p.Get(1)
	for _, b := range held {
		p.Put(b)
	}
	if p.Over() {
		t.Error("Over, with nothing used")
	}
}

func TestBuffersAppend(t *testing.T) {
	t.Parallel()
	p := newBuffers(t, MaxBuffer)
	want := noiseBytes(1, MaxBuffer)
	for _, step := range []int{1, 700, 1 << 10, 100_000, MaxBuffer} {
		var buf []byte
		for at := 0; at < len(want); {
			n := min(step*(1+at/8), len(want)-at)
			var ok bool
			if buf, ok = p.Append(buf, want[at:at+n]); !ok {
				t.Fatalf("step %d: refused at %d", step, at)
			}
			at += n
			if p.Used() != int64(cap(buf)) {
				t.Fatalf("step %d: %d used, the buffer has %d", step, p.Used(), cap(buf))
			}
		}
		if !bytes.Equal(buf, want) {
			t.Errorf("step %d: other bytes than were appended", step)
		}
		if again, ok := p.Append(buf, []byte("x")); ok || unsafe.SliceData(again) != unsafe.SliceData(buf) || len(again) != len(buf) {
			t.Errorf("step %d: beyond MaxBuffer: %t, %d bytes", step, ok, len(again))
		}
		p.Put(buf)
	}
}

// A buffer that cannot grow stays what it was, and the caller's.
func TestBuffersAppendRefused(t *testing.T) {
	t.Parallel()
	p := newBuffers(t, 1<<10)
	buf, ok := p.Append(nil, []byte("kept"))
	if !ok {
		t.Fatal("refused")
	}
	// Both the old and the new one are held while it moves: 1 + 2 KiB of 2.
	after, ok := p.Append(buf, make([]byte, 1<<10))
	if ok || string(after) != "kept" || p.Used() != 1<<10 {
		t.Errorf("appended %t, %q, %d used", ok, after, p.Used())
	}
	if nothing, ok := p.Append(nil, make([]byte, 4<<10)); ok || nothing != nil {
		t.Errorf("appended to nothing: %t, %d bytes", ok, len(nothing))
	}
	p.Put(after)
}

func TestBuffersPutPanics(t *testing.T) {
	t.Parallel()
	p := newBuffers(t, 1<<20)
	b := p.Get(1)
	wantPanic(t, "Put of a part", func() { p.Put(b[:8][4:]) })
	p.Put(b)
}

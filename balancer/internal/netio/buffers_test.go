//go:build linux

package netio

import (
	"bytes"
	"encoding/binary"
	"math"
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
		p.wantWhole(t)
		p.shut()
		if p.Used() != 0 || p.arena != nil {
			t.Error("shut leaves something")
		}
	})
	return p
}

func TestBuffersClasses(t *testing.T) {
	t.Parallel()
	p := newBuffers(t, 4<<20)
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
		{math.MaxInt, 0},
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

// wantWhole checks that all free halves have become whole again.
func (p *Buffers) wantWhole(t *testing.T) {
	t.Helper()
	for c := range numClasses - 1 {
		if p.free[c] != 0 {
			t.Errorf("a block of class %d is left, with nothing lent", c)
		}
	}
	slabs := 0
	for u := p.free[numClasses-1]; u != 0; slabs++ {
		next, _ := p.links(u - 1)
		u = binary.NativeEndian.Uint32(next)
	}
	if slabs*slabUnits != len(p.marks) {
		t.Errorf("%d slabs are whole, of %d units", slabs, len(p.marks))
	}
}

// No two buffers share a byte, whatever is asked for in whatever order.
func TestBuffersApart(t *testing.T) {
	t.Parallel()
	for seed := range uint64(4) {
		p := newBuffers(t, 4<<20)
		random := rand.New(rand.NewPCG(seed, 1))
		var held [][]byte
		refused := 0
		for round := range 5000 {
			if len(held) > 0 && random.IntN(5) < 2 {
				i := random.IntN(len(held))
				b := held[i]
				for _, x := range b {
					if x != b[0] {
						t.Fatalf("round %d: somebody else has written here", round)
					}
				}
				p.Put(b[:random.IntN(len(b))]) // length does not matter
				held[i] = held[len(held)-1]
				held = held[:len(held)-1]
				continue
			}
			b := p.Get(1 << random.IntN(maxBufferBits+1))
			if b == nil {
				refused++
				continue
			}
			b = b[:cap(b)]
			for i := range b {
				b[i] = byte(round)
			}
			held = append(held, b)
		}
		if refused == 0 || refused > 4500 {
			t.Errorf("%d refused: the limit was not met", refused)
		}
		for _, b := range held {
			p.Put(b)
		}
	}
}

// What was used in one class serves the others: the memory taken is bounded by
// the limit, not by the limit of each class.
func TestBuffersBounded(t *testing.T) {
	t.Parallel()
	const limit = 2 << 20
	p := newBuffers(t, limit)
	for size := 1 << 10; size <= MaxBuffer; size *= 2 {
		var held [][]byte
		for range 2 * limit / size {
			b := p.Get(size)
			if b == nil {
				t.Fatalf("size %d: refused with %d of %d bytes used", size, p.Used(), 2*limit)
			}
			b = b[:size]
			b[0], b[size-1] = 1, 1
			held = append(held, b)
		}
		if b := p.Get(1); b != nil {
			t.Errorf("size %d: given beyond the hard limit", size)
		}
		for _, b := range held {
			p.Put(b)
		}
		p.wantWhole(t)
	}
	if len(p.arena) != 2*limit {
		t.Errorf("%d bytes reserved, want %d", len(p.arena), 2*limit)
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
	wantPanic(t, "Put of a shorter one", func() { p.Put(b[:0:512]) })
	wantPanic(t, "Put of somebody's memory", func() { p.Put(make([]byte, 1<<10)) })
	p.Put(b)
	wantPanic(t, "Put twice", func() { p.Put(b) })
}

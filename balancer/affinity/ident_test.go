package affinity

import (
	"bytes"
	"testing"
)

func TestIdentPrefixes(t *testing.T) {
	p := newStore(t).Pool(1)
	for _, tt := range []struct {
		sentence string
		n        int
		has      [NumLengths]bool // 20, 17, 16, 12, 4
	}{
		{"a random handle of 16 bytes (Erlang) has no name", 16, [NumLengths]bool{}},
		{"nor has one of 32 (OpenSSL, rustls)", 32, [NumLengths]bool{}},
		{"nor 35, one less than a 4-byte name needs", 35, [NumLengths]bool{}},
		{"36 may have 4", 36, [NumLengths]bool{4: true}},
		{"44 may have 12", 44, [NumLengths]bool{3: true, 4: true}},
		{"48 may have 16", 48, [NumLengths]bool{2: true, 3: true, 4: true}},
		{"51 may not have 20", 51, [NumLengths]bool{1: true, 2: true, 3: true, 4: true}},
		{"52 may have any", 52, [NumLengths]bool{true, true, true, true, true}},
	} {
		ident := p.HashIdent(ticketOf(tt.n, "", 1))
		for i, want := range tt.has {
			if (ident.Prefix[i] != 0) != want {
				t.Errorf("%s: %d bytes: %v, want %v", tt.sentence, PrefixLen(i), ident.Prefix[i] != 0, want)
			}
		}
		if ident.Len != tt.n || ident.First == 0 || ident.Exact == 0 {
			t.Errorf("%s: %+v", tt.sentence, ident)
		}
	}
	if p.HashIdent(nil) != (Ident{}) {
		t.Error("nothing has keys")
	}
}

// TestIdentSharing: two tickets share exactly the prefixes that their bytes share.
func TestIdentSharing(t *testing.T) {
	p := newStore(t).Pool(1)
	a := ticketOf(100, "", 1)
	for at := range 40 {
		b := bytes.Clone(a)
		b[at] ^= 1
		x, y := p.HashIdent(a), p.HashIdent(b)
		for i := range NumLengths {
			if (x.Prefix[i] == y.Prefix[i]) != (at >= PrefixLen(i)) {
				t.Errorf("byte %d differs: the prefix of %d bytes says otherwise", at, PrefixLen(i))
			}
		}
		if (x.First == y.First) != (at >= 16) {
			t.Errorf("byte %d differs: First says otherwise", at)
		}
		if x.Exact == y.Exact {
			t.Errorf("byte %d differs, and the whole is equal", at)
		}
	}
}

func TestDigestEveryCut(t *testing.T) {
	p := newStore(t).Pool(1)
	for _, n := range []int{0, 1, 15, 16, 17, 20, 31, 32, 33, 52, 64, 192, 1098} {
		b := ticketOf(n, "", 1)
		want := p.HashIdent(b)
		var d Digest
		for cut := range n + 1 {
			d.Reset(p)
			d.Write(b[:cut])
			d.Write(b[cut:])
			if got := d.Ident(); got != want {
				t.Fatalf("%d bytes cut at %d: %+v, want %+v", n, cut, got, want)
			}
		}
		d.Reset(p)
		for i := range b {
			d.Write(b[i : i+1])
		}
		if got := d.Ident(); got != want {
			t.Fatalf("%d bytes one by one: %+v, want %+v", n, got, want)
		}
	}
}

// FuzzDigest: any chunking gives the Ident of the whole.
func FuzzDigest(f *testing.F) {
	f.Add([]byte("a name of twenty bytes and what follows it, quite random, until the end"), []byte{3, 17, 1})
	f.Add([]byte(""), []byte{})
	f.Add(make([]byte, 300), []byte{255, 0, 20})
	p := newStore(f).Pool(1)
	f.Fuzz(func(t *testing.T, b, cuts []byte) {
		var d Digest
		d.Reset(p)
		rest := b
		for _, c := range cuts {
			n := min(int(c), len(rest))
			d.Write(rest[:n])
			rest = rest[n:]
		}
		d.Write(rest)
		if got, want := d.Ident(), p.HashIdent(b); got != want {
			t.Errorf("in parts %+v, whole %+v", got, want)
		}
	})
}

package cluster

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, KeyBytes) }

func keyFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// wide is text in UTF-16.
func wide(text string, order binary.AppendByteOrder) string {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, unit)
	}
	return string(b)
}

func TestLoadKeys(t *testing.T) {
	a, b := FormatKey(key(1)), FormatKey(key(2))
	for _, tt := range []struct {
		why, text string
		want      [][]byte
		wantErr   string
	}{
		{"one key", a + "\n", [][]byte{key(1)}, ""},
		{"no new line at the end", a, [][]byte{key(1)}, ""},
		{"two keys, the first in use", "# new\n" + b + "\r\n\n  " + a + "  \n", [][]byte{key(2), key(1)}, ""},
		{"UTF-8 with a mark", "\xef\xbb\xbf" + a + "\r\n", [][]byte{key(1)}, ""},
		{"UTF-16, as PowerShell writes it", wide("\ufeff"+a+"\r\n", binary.LittleEndian), [][]byte{key(1)}, ""},
		{"the other UTF-16", wide("\ufeff# new\n"+b+"\n"+a, binary.BigEndian), [][]byte{key(2), key(1)}, ""},
		{
			"UTF-16 without a mark", wide(a+"\n", binary.LittleEndian), nil,
			"UTF-16 without a byte order mark: save it as UTF-8",
		},
		{"half a character", wide("\ufeff"+a, binary.LittleEndian) + "\n", nil, "ends in the middle of a character"},
		{"no key file at all", strings.Repeat("# long\n", 10000), nil, "more than 65536 bytes"},
		{"nothing", "# later\n\n", nil, "holds no key"},
		{"no base64", "hello\n", nil, "line 1 is not a key"},
		{"too short", "AAAA\n", nil, "line 1 is not a key"},
		{"the same twice", a + "\n" + a, nil, "line 2 is a key that stands above"},
		{
			"too many", a + "\n" + b + "\n" + FormatKey(key(3)) + "\n" + FormatKey(key(4)) + "\n" + FormatKey(key(5)), nil,
			"holds 5 keys",
		},
	} {
		got, open, err := LoadKeys(keyFile(t, tt.text, 0o600))
		if tt.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("%s: %v, want %q", tt.why, err, tt.wantErr)
			} else if strings.Contains(err.Error(), strings.TrimSpace(tt.text)) {
				t.Errorf("%s: the error tells what stands in the file: %v", tt.why, err)
			}
			continue
		}
		if err != nil || open {
			t.Errorf("%s: %v, open %t", tt.why, err, open)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.why, diff)
		}
	}
	if _, _, err := LoadKeys(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestLoadKeysTellsOfOpenFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing there")
	}
	path := keyFile(t, FormatKey(key(1)), 0o600)
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, open, err := LoadKeys(path); err != nil || !open {
		t.Errorf("open %t, %v", open, err)
	}
}

func TestSaveKeys(t *testing.T) {
	path := keyFile(t, FormatKey(key(1)), 0o600)
	want := [][]byte{key(2), key(1)}
	if err := SaveKeys(path, want); err != nil {
		t.Fatal(err)
	}
	got, open, err := LoadKeys(path)
	if diff := cmp.Diff(want, got); diff != "" || err != nil || open {
		t.Errorf("%v, open %t:\n%s", err, open, diff)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v: more than the file is left", entries, err)
	}
	if err := SaveKeys(filepath.Join(t.TempDir(), "no", "keys"), want); err == nil {
		t.Error("a directory that is not there was written to")
	}
}

func TestKeyringRotation(t *testing.T) {
	ring, err := NewKeyring([][]byte{key(1)})
	if err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		why  string
		do   func() error
		err  error
		want []byte // first bytes of the keys
	}{
		{"a new key is trusted", func() error { return ring.Add(key(2)) }, nil, []byte{1, 2}},
		{"again is no error", func() error { return ring.Add(key(2)) }, nil, []byte{1, 2}},
		{
			"one that is not trusted is not used", func() error { return ring.Use(PrintOf(key(3))) }, ErrKeyUnknown,
			[]byte{1, 2},
		},
		{
			"the one in use is not removed", func() error { return ring.Remove(PrintOf(key(1))) }, ErrKeyInUse,
			[]byte{1, 2},
		},
		{"the new one is used", func() error { return ring.Use(PrintOf(key(2))) }, nil, []byte{2, 1}},
		{"more", func() error { return errors.Join(ring.Add(key(3)), ring.Add(key(4))) }, nil, []byte{2, 1, 3, 4}},
		{"too many", func() error { return ring.Add(key(5)) }, ErrRingFull, []byte{2, 1, 3, 4}},
		{"one that is there fits", func() error { return ring.Add(key(4)) }, nil, []byte{2, 1, 3, 4}},
		{"one in the middle is removed", func() error { return ring.Remove(PrintOf(key(1))) }, nil, []byte{2, 3, 4}},
		{"again is no error", func() error { return ring.Remove(PrintOf(key(1))) }, nil, []byte{2, 3, 4}},
		{"the last is removed", func() error { return ring.Remove(PrintOf(key(4))) }, nil, []byte{2, 3}},
		{"a file with other keys", func() error { return ring.Replace([][]byte{key(7), key(2)}) }, nil, []byte{7, 2}},
		{
			"a full ring by another", func() error { return ring.Replace([][]byte{key(3), key(4), key(5), key(6)}) }, nil,
			[]byte{3, 4, 5, 6},
		},
		{
			"the order of the file counts", func() error { return ring.Replace([][]byte{key(6), key(3), key(4), key(5)}) },
			nil,
			[]byte{6, 3, 4, 5},
		},
		{"no key", func() error { return ring.Add(key(1)[:16]) }, errAny, []byte{6, 3, 4, 5}},
		{"no keys", func() error { return ring.Replace(nil) }, errAny, []byte{6, 3, 4, 5}},
	}
	for _, s := range steps {
		err := s.do()
		if !errors.Is(err, s.err) && (s.err != errAny || err == nil) {
			t.Errorf("%s: %v, want %v", s.why, err, s.err)
		}
		var got []byte
		for _, k := range ring.Keys() {
			got = append(got, k[0])
		}
		if got[0] != s.want[0] || !sameSet(got, s.want) {
			t.Errorf("%s: keys %v, want %v", s.why, got, s.want)
		}
	}
}

var errAny = errors.New("any")

// sameSet compares without order: only who is first matters in a ring.
func sameSet(a, b []byte) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// TestKeyringRemoveUnderReaders: whoever decrypts holds the slice of keys meanwhile; the race detector tells when it is
// written to.
func TestKeyringRemoveUnderReaders(t *testing.T) {
	ring, err := NewKeyring([][]byte{key(1), key(2), key(3)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 1000 {
			for _, k := range ring.ring.GetKeys() {
				_ = k[0]
			}
		}
	}()
	for range 100 {
		if err := errors.Join(ring.Remove(PrintOf(key(2))), ring.Add(key(2)), ring.Remove(PrintOf(key(3))),
			ring.Add(key(3))); err != nil {
			t.Fatal(err)
		}
	}
	<-done
}

func TestNewKeyringRefuses(t *testing.T) {
	for _, keys := range [][][]byte{nil, {key(1)[:31]}, {key(1), nil}, {key(1), key(2), key(3), key(4), key(5)}} {
		if _, err := NewKeyring(keys); err == nil {
			t.Errorf("%d keys were accepted", len(keys))
		}
	}
}

func TestPrintOf(t *testing.T) {
	if PrintOf(key(1)) == PrintOf(key(2)) || len(PrintOf(key(1)).String()) != 16 {
		t.Error("keys have no names of their own")
	}
	if a, b := NewKey(), NewKey(); bytes.Equal(a, b) || len(a) != KeyBytes {
		t.Error("keys are not drawn")
	}
}

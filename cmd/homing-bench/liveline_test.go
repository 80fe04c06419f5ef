//go:build linux

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLiveLine(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "progress"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if newLiveLine(f).terminal {
		t.Fatal("a file was taken for a terminal")
	}
	var b bytes.Buffer
	l := newLiveLine(&b)
	l.show("not drawn")
	if l.terminal || b.Len() != 0 {
		t.Fatalf("drew %q where there is no terminal", b.String())
	}
	l.terminal = true
	l.show("[#.] step")
	l.show("[#.] step") // drawn once
	l.show(strings.Repeat("x", 200))
	l.clear()
	if want := "\r\x1b[K[#.] step\r\x1b[K" + strings.Repeat("x", 79) + "\r\x1b[K"; b.String() != want {
		t.Errorf("drew %q, want %q", b.String(), want)
	}
}

func TestMeter(t *testing.T) {
	for got, full := range map[string]int{
		meter(0, 10): 0, meter(5, 10): 15, meter(9, 10): 27, meter(12, 10): 30, meter(time.Second, 3*time.Second): 10,
	} {
		if want := "[" + strings.Repeat("#", full) + strings.Repeat(".", 30-full) + "]"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := meter(1, 0); strings.Contains(got, "#") {
		t.Errorf("of nothing: %s", got)
	}
}

func TestDemoSaysEachStepOnce(t *testing.T) {
	var b bytes.Buffer
	tell := demoProgress(newLiveLine(&b))
	for done, step := range []string{"a", "a", "b", "b"} {
		tell(step, done, 4)
	}
	if b.String() != "a\nb\n" {
		t.Errorf("wrote %q", b.String())
	}
}

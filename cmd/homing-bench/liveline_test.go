package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	for want, got := range map[string]string{
		"[....]": meter(4, 0, 10), "[##..]": meter(4, 5, 10), "[####]": meter(4, 12, 10),
		"[...]": meter(3, 1, 0), "[#..]": meter(3, 1.5, 4.0),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
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

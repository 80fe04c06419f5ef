//go:build linux

package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse: no text makes the parser panic; what is wrong has a message and a place in the file; what is right prints as
// a file that reads back as the same.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add(Example())
	f.Add([]byte(small))
	f.Add([]byte("\xef\xbb\xbf" + small + "\r\ntimeouts: &t {idle: 5m}\r\n"))
	f.Add([]byte("x: &x {policy: least-conn}\npools: [{<<: *x, name: a, backends: [a:1]}]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Parse("fuzz", text, nil)
		if err != nil {
			wrong, ok := errors.AsType[*Errors](err)
			if !ok || len(wrong.Problems) == 0 {
				t.Fatalf("%v", err)
			}
			for _, p := range wrong.Problems {
				if p.Text == "" || p.Line < 0 || p.Line > len(wrong.lines) || p.Line > 0 && p.Column < 1 {
					t.Errorf("%+v, the file has %d lines", p, len(wrong.lines))
				}
			}
			return
		}
		printed := Print(c)
		again, err := Parse("printed", printed, nil)
		if err != nil {
			t.Fatalf("what was printed is refused: %v\n%s", err, printed)
		}
		if diff := same(c, again); diff != "" {
			t.Fatalf("it reads back as another (-read +printed):\n%s\n%s", diff, printed)
		}
		if len(Differences(c, again)) > 0 || Hash(c) != Hash(again) {
			t.Fatalf("differences where there are none: %v", Differences(c, again))
		}
	})
}

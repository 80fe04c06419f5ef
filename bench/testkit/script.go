package testkit

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Scripts runs each testdata/*.txt: blocks of commands, a line of dashes, what they print, and an empty line; a line that
// begins with # is none. start begins a script that prints to out, and returns what runs a command, by its words. All of it is
// compared with the file, which update rewrites.
func Scripts(t *testing.T, update bool, start func(t *testing.T, out io.Writer) func(words []string)) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scripts", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			Check(t, err)
			var printed bytes.Buffer
			got := script(string(text), start(t, &printed), &printed)
			if update {
				Check(t, os.WriteFile(file, got, 0o644))
			} else if !bytes.Equal(got, text) {
				t.Errorf("%s is not what it should be; it prints:\n%s", file, got)
			}
		})
	}
}

// script is the text with what its commands print now.
func script(text string, command func(words []string), printed *bytes.Buffer) []byte {
	var out bytes.Buffer
	expected := false // skipping the old output, which ends with an empty line
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case expected:
			if line == "" {
				expected = false
				fmt.Fprintln(&out)
			}
		case line == "----":
			expected = true
			fmt.Fprintf(&out, "----\n%s", printed.Bytes())
			printed.Reset()
		default:
			fmt.Fprintln(&out, line)
			if line != "" && line[0] != '#' {
				command(strings.Fields(line))
			}
		}
	}
	return out.Bytes()
}

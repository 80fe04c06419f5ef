package balancer

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDesign holds DESIGN.md and the code to each other: a section that is cited is there, and a test that section 6
// names exists.
func TestDesign(t *testing.T) {
	const root = ".."
	page, err := os.ReadFile("DESIGN.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^###? ([0-9](?:\.[0-9])?)\.? `).FindAllSubmatch(page, -1) {
		sections[string(m[1])] = true
	}
	cited := regexp.MustCompile(`DESIGN\.md(?: section)?\s+(?://\s*)?([0-9](?:\.[0-9])?)`)
	tests := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9]+)\(`)
	defined := map[string]bool{}
	citations := 0
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || d.Name() == "bin" || d.Name() == "dist"):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range cited.FindAllSubmatch(text, -1) {
			citations++
			if !sections[string(m[1])] {
				t.Errorf("%s cites section %s of DESIGN.md, which has none", path, m[1])
			}
		}
		for _, m := range tests.FindAllSubmatch(text, -1) {
			defined[string(m[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if citations < 5 {
		t.Errorf("%d citations found", citations)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllSubmatch(page, -1)
	if len(named) < 20 {
		t.Errorf("DESIGN.md names %d tests", len(named))
	}
	for _, m := range named {
		if !defined[string(m[1])] {
			t.Errorf("DESIGN.md names %s, there is no such test", m[1])
		}
	}
}

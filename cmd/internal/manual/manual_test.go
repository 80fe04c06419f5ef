package manual

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cpuguy83/go-md2man/v2/md2man"
	"github.com/spf13/cobra"
)

func TestPagesAreTheSameAgain(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	write := func() string {
		dir := t.TempDir()
		root := &cobra.Command{Use: "tool", Short: "Do something"}
		root.AddCommand(&cobra.Command{Use: "sub", Short: "Do a part of it", Run: func(*cobra.Command, []string) {}}, NewCommand("v1"))
		root.SetArgs([]string{"man", dir})
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		return page(t, dir, "tool-sub.1")
	}
	first := write()
	if !strings.Contains(first, "Do a part of it") || !strings.Contains(first, "Nov 2023") || first != write() {
		t.Errorf("the page:\n%s", first)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := sourceDate(); err == nil {
		t.Error("yesterday is taken for a number of seconds")
	}
}

// page is what the packages have of a page that was written.
func page(t *testing.T, dir, name string) string {
	t.Helper()
	markdown, err := os.ReadFile(filepath.Join(dir, name+".md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(md2man.Render(markdown))
}

// TestPageSaysWhatHelpSays: a page has what each flag takes and its default, the notes, and its neighbours; and what
// markdown has a meaning for stands there as it is.
func TestPageSaysWhatHelpSays(t *testing.T) {
	root := &cobra.Command{Use: "tool", Short: "Do something", Annotations: map[string]string{SeeAlso: "**tool.yaml**(5)"}}
	sub := &cobra.Command{
		Use: "sub FILE [flags]", Short: "Do a part of it", Run: func(*cobra.Command, []string) {},
		Annotations: map[string]string{Notes: "\nSIGHUP reads *.conf again.\nFor example:\n  tool sub a_b_c\nExit codes: 0 done; 2 not.\n"},
	}
	sub.Flags().String("kind", "tcp", "one of `tcp|tls`, as in [x]")
	root.AddCommand(sub, NewCommand("v1", &Page{Name: "tool.yaml", Section: 5, Short: "a file", Body: "# KEYS\n\n```\nkey: 1 # *\n```\n"}))
	dir := t.TempDir()
	root.SetArgs([]string{"man", dir})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	for file, words := range map[string][]string{
		"tool-sub.1":  {"tool sub", "FILE [flags]", "tcp|tls", "(default tcp)", "as in [x]", "reads *.conf again", "tool sub a_b_c", "Exit codes: 0 done", "tool\\fP(1)", "tool.yaml\\fP(5)"},
		"tool.1":      {"Do something", "Do a part of it", "tool-sub\\fP(1)"},
		"tool.yaml.5": {"a file", "key: 1 # *"},
	} {
		page := page(t, dir, file)
		for _, word := range words {
			if !strings.Contains(strings.NewReplacer("\\-", "-", "\\&", "").Replace(page), word) {
				t.Errorf("%s does not say %q:\n%s", file, word, page)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "tool-man.1.md")); err == nil {
		t.Error("a hidden command has a page")
	}
}

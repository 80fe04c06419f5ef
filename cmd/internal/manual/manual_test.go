package manual

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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
		page, err := os.ReadFile(filepath.Join(dir, "tool-sub.1"))
		if err != nil {
			t.Fatal(err)
		}
		return string(page)
	}
	page := write()
	if !strings.Contains(page, "Do a part of it") || !strings.Contains(page, "Nov 2023") || page != write() {
		t.Errorf("the page:\n%s", page)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := sourceDate(); err == nil {
		t.Error("yesterday is taken for a number of seconds")
	}
}

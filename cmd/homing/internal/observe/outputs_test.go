package observe

import (
	"bytes"
	"context"
	"crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"homing/bench/testkit"
	"homing/cmd/internal/usage"
)

// A run that is refused has written over nothing: no capture, and no report of an earlier run.
func TestNothingIsOverwritten(t *testing.T) {
	r := newRecording(t)
	site(t, r, tls.VersionTLS12, 1, []int{0, 1})
	dir := t.TempDir()
	trace, old := filepath.Join(dir, "trace.pcap"), filepath.Join(dir, "old")
	testkit.Check(t, os.WriteFile(trace, r.Bytes(), 0o600))
	testkit.Check(t, os.WriteFile(old, []byte("precious"), 0o600))
	testkit.Check(t, os.Symlink(trace, filepath.Join(dir, "link")))
	for _, tc := range []struct{ name, want string }{
		{"--pcap trace.pcap --json trace.pcap", "is the capture itself"},
		{"--pcap old --pcap trace.pcap --html link", "is the capture itself"},
		{"--pcap trace.pcap --json old --html old", "is what the report, or another form of it, is written to"},
		{"--pcap missing --json old", "missing"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			args := strings.Fields(tc.name)
			for i := 1; i < len(args); i += 2 {
				args[i] = filepath.Join(dir, args[i])
			}
			code, _, errs := command(nil, args...)
			if code != 2 || !strings.Contains(errs, tc.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("exit code %d, %q", code, errs)
			}
			for name, want := range map[string][]byte{trace: r.Bytes(), old: []byte("precious")} {
				if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s is not what it was: %d bytes, %v", name, len(got), err)
				}
			}
		})
	}
	long := strings.Repeat("long ", 100_000)
	testkit.Check(t, os.WriteFile(old, []byte(long), 0o600))
	if code, _, errs := command(nil, "--pcap", trace, "--json", old); code != 0 {
		t.Errorf("exit code %d, %q", code, errs)
	}
	if got, err := os.ReadFile(old); err != nil || bytes.Contains(got, []byte("long ")) {
		t.Errorf("an earlier report is left: %v", err)
	}
}

// execute runs the command with its stdout in a file, and returns what is in it.
func execute(ctx context.Context, t *testing.T, args ...string) string {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	testkit.Check(t, err)
	defer out.Close()
	root := &cobra.Command{Use: "homing"}
	root.AddCommand(NewCommand())
	if code := usage.Execute(ctx, root, append([]string{"observe"}, args...), out, &bytes.Buffer{}); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	text, err := os.ReadFile(out.Name())
	testkit.Check(t, err)
	return string(text)
}

// Nothing that names anybody comes into a file by way of stdout either.
func TestWatchToFile(t *testing.T) {
	r := newRecording(t)
	site(t, r, tls.VersionTLS12, 2, []int{0, 1, 1})
	read, write, err := os.Pipe()
	testkit.Check(t, err)
	defer read.Close()
	// What is watched is a pipe that stays open for some looks.
	root := &cobra.Command{Use: "homing"}
	root.AddCommand(NewCommand())
	root.SetIn(read)
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	testkit.Check(t, err)
	defer out.Close()
	done := make(chan int, 1)
	go func() {
		done <- usage.Execute(context.Background(), root, []string{"observe", "--pcap", "-", "--watch", "--every", "100ms"}, out, &bytes.Buffer{})
	}()
	_, err = write.Write(r.Bytes())
	testkit.Check(t, err)
	testkit.Eventually(t, "a look", func() bool {
		text, err := os.ReadFile(out.Name())
		return err == nil && bytes.Contains(text, []byte(":443"))
	})
	testkit.Check(t, write.Close())
	if code := <-done; code != 0 {
		t.Errorf("exit code %d", code)
	}
	text, err := os.ReadFile(out.Name())
	testkit.Check(t, err)
	if strings.Contains(string(text), "10.0.0.") || !strings.Contains(string(text), "the whole") {
		t.Errorf("names are told: %s", text)
	}
}

// What was interrupted is not told as if it were the whole.
func TestInterrupted(t *testing.T) {
	r := newRecording(t)
	site(t, r, tls.VersionTLS12, 1, []int{0, 1})
	trace := filepath.Join(t.TempDir(), "trace.pcap")
	testkit.Check(t, os.WriteFile(trace, r.Bytes(), 0o600))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if out := execute(ctx, t, "--pcap", trace); !strings.Contains(out, "It ended before its end: interrupted, behind 0 packets") {
		t.Error(out)
	}
}

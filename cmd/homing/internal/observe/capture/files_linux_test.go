package capture_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/observe/capture"
)

// TestOpenAsWireshark reads what tshark reads: the files above, and those that others made to try readers of pcapng.
func TestOpenAsWireshark(t *testing.T) {
	testkit.Need(t, "tshark", "go")
	files := map[string]string{}
	for name, test := range formats() {
		if name == impossible {
			continue
		}
		files[name] = onDisk(t, "capture", test.data)
	}
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/gopacket/gopacket").Output()
	if err != nil {
		t.Fatal(err)
	}
	others, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "pcapgo/tests/le/*.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range others {
		files[filepath.Base(file)] = file
	}
	for name, file := range files {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), "tshark", "-n", "-r", file, "-Y", "frame.encap_type", "-T", "fields", // of packets alone
				"-e", "frame.time_epoch", "-e", "frame.cap_len", "-e", "frame.len")
			out, refused := cmd.Output()
			s, err := capture.Open(t.Context(), []string{file}, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			all, _, err := readAll(s)
			if (err == nil) != (refused == nil) {
				t.Errorf("error %v, tshark's: %v", err, refused)
			}
			var got []string
			for i, line := range strings.Split(strings.TrimSuffix(string(out), "\n"), "\n") {
				if i == len(all) {
					break
				}
				stamp := ""
				if !strings.HasPrefix(line, "\t") { // a simple packet has none of its own
					stamp = fmt.Sprintf("%d.%09d", all[i].Time.Unix(), all[i].Time.Nanosecond())
				}
				got = append(got, fmt.Sprintf("%s\t%d\t%d", stamp, len(all[i].Data), all[i].Length))
			}
			if diff := cmp.Diff(strings.TrimSpace(string(out)), strings.TrimSpace(strings.Join(got, "\n"))); diff != "" {
				t.Errorf("packets (-tshark +capture):\n%s", diff)
			}
		})
	}
}

package capture_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/observe/capture"
)

// dropping tells the process of TestDropPrivilegesProcess that it is the one.
const dropping = "HOMING_TEST_DROP_PRIVILEGES"

// TestDropPrivilegesProcess opens a source, drops its privileges and says what its threads may still do.
func TestDropPrivilegesProcess(t *testing.T) {
	if os.Getenv(dropping) == "" {
		t.Skip("is started by the other")
	}
	s, err := capture.Listen(t.Context(), capture.Options{Interface: "lo", Buffer: 1 << 20})
	testkit.Check(t, err)
	defer s.Close()
	var started, end sync.WaitGroup
	end.Add(1)
	for range 4 { // threads that are there before
		started.Add(1)
		go func() {
			runtime.LockOSThread()
			started.Done()
			end.Wait()
		}()
	}
	started.Wait()
	defer end.Done()
	fmt.Println("error:", capture.DropPrivileges())
	if _, err := s.Next(); err != nil {
		fmt.Println("next:", err)
	}
	s.Stats()
	if _, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM, 0); err != unix.EPERM {
		fmt.Println("another socket:", err)
	}
	threads, err := filepath.Glob("/proc/self/task/*/status")
	testkit.Check(t, err)
	fmt.Println("threads:", len(threads) > 4)
	for _, name := range threads {
		status, err := os.ReadFile(name)
		testkit.Check(t, err)
		for line := range strings.Lines(string(status)) {
			name, value, _ := strings.Cut(line, ":")
			switch name {
			case "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapAmb", "NoNewPrivs":
				fmt.Println(name, strings.Join(strings.Fields(value), " "))
			}
		}
	}
}

// dropped returns the different lines that the process printed.
func dropped(t *testing.T, attr *syscall.SysProcAttr, program ...string) []string {
	t.Helper()
	program = append(program, "-test.run", "^TestDropPrivilegesProcess$")
	cmd := exec.CommandContext(t.Context(), program[0], program[1:]...)
	cmd.Env = append(os.Environ(), dropping+"=1")
	cmd.SysProcAttr, cmd.Dir = attr, "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var lines []string
	seen := map[string]bool{"PASS": true}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); !seen[line] && !strings.HasPrefix(line, "coverage:") {
			lines = append(lines, line)
		}
		seen[line] = true
	}
	return lines
}

// As homing is built, without cgo, nothing is left: neither to root nor to a user who has CAP_NET_RAW alone.
func TestDropPrivileges(t *testing.T) {
	testkit.NeedRooms(t)
	dir, err := os.MkdirTemp("", "homing-capture") // t.TempDir is for its owner alone
	testkit.Check(t, err)
	defer os.RemoveAll(dir)
	testkit.Check(t, os.Chmod(dir, 0o755))
	program := filepath.Join(dir, "capture.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", program, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	none := []string{"CapInh 0000000000000000", "CapPrm 0000000000000000", "CapEff 0000000000000000", "CapAmb 0000000000000000", "NoNewPrivs 1"}
	ids := func(id string) []string {
		return []string{"error: <nil>", "threads: true", "Uid " + id + " " + id + " " + id + " " + id, "Gid " + id + " " + id + " " + id + " " + id, "Groups"}
	}
	if diff := cmp.Diff(append(ids("65534"), none...), dropped(t, nil, program)); diff != "" {
		t.Errorf("root (-want +got):\n%s", diff)
	}
	user := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 4711, Gid: 4711}, AmbientCaps: []uintptr{unix.CAP_NET_RAW}}
	if diff := cmp.Diff(append(ids("4711"), none...), dropped(t, user, program)); diff != "" {
		t.Errorf("a user with CAP_NET_RAW (-want +got):\n%s", diff)
	}
	// As in a container that has it alone: root cannot become another.
	testkit.Need(t, "setpriv")
	root := ids("0")
	root[0] = "error: privileges are dropped but for the groups of root (operation not permitted), " +
		"the group root (operation not permitted), the user root (operation not permitted)"
	got := dropped(t, nil, "setpriv", "--bounding-set=-all,+net_raw", "--clear-groups", program)
	if diff := cmp.Diff(append(root, none...), got); diff != "" {
		t.Errorf("root with CAP_NET_RAW (-want +got):\n%s", diff)
	}
}

// With cgo the threads are not all Go's. Root still becomes nobody, and what is left is said.
func TestDropPrivilegesWithCgo(t *testing.T) {
	testkit.NeedRooms(t)
	lines := dropped(t, nil, os.Args[0])
	want := "error: privileges are dropped but for new privileges by execution (built with cgo; take CGO_ENABLED=0, as make build does)"
	if lines[0] == "error: <nil>" {
		t.Skip("this is no program with cgo")
	}
	if diff := cmp.Diff(want, lines[0]); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
	for _, line := range []string{"Uid 65534 65534 65534 65534", "CapEff 0000000000000000", "CapPrm 0000000000000000"} {
		if !strings.Contains(strings.Join(lines, "\n"), line) {
			t.Errorf("no %q in %q", line, lines)
		}
	}
}

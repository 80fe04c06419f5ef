package integration

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"homing/bench/testkit"
)

// memory reads the resident memory of homing in bytes, and its highest value so far (VmRSS and VmHWM, proc(5)).
func (h *homing) memory(tb testing.TB) (now, peak int64) {
	tb.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.proc.PID()))
	testkit.Check(tb, err)
	for s := bufio.NewScanner(strings.NewReader(string(b))); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		n, err := strconv.ParseInt(f[1], 10, 64)
		testkit.Check(tb, err)
		switch f[0] {
		case "VmRSS:":
			now = n << 10
		case "VmHWM:":
			peak = n << 10
		}
	}
	return now, peak
}

// files are the open descriptors of a process by kind.
type files struct{ sockets, pipes, others int }

func (h *homing) files(tb testing.TB) files {
	tb.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", h.proc.PID())
	entries, err := os.ReadDir(dir)
	testkit.Check(tb, err)
	var f files
	for _, e := range entries {
		switch to, _ := os.Readlink(filepath.Join(dir, e.Name())); { // gone since: counted as other, and asked again
		case strings.HasPrefix(to, "socket:"):
			f.sockets++
		case strings.HasPrefix(to, "pipe:"):
			f.pipes++
		default:
			f.others++
		}
	}
	return f
}

// idlePipes is how many pipes a loop keeps for the next bulky flow; each has two descriptors.
const idlePipes = 16

// recovers fails the test unless homing has let go of everything: conns, buffers and descriptors are as they were at
// the start, but for the pipes it keeps. It returns how long that took.
func (h *homing) recovers(tb testing.TB, start files, loops int, within time.Duration) time.Duration {
	tb.Helper()
	clock, began := watchMachine(tb), time.Now()
	var left []string
	ok := clock.wait(within, func() bool {
		left = left[:0]
		m := h.metrics(tb)
		for _, name := range []string{"homing_conns_open", "homing_handshakes", "homing_buffer_bytes"} {
			if m[name] != 0 {
				left = append(left, fmt.Sprintf("%s %v", name, m[name]))
			}
		}
		for name, v := range m {
			if strings.HasPrefix(name, "homing_backend_conns_open{") && v != 0 {
				left = append(left, fmt.Sprintf("%s %v", name, v))
			}
		}
		// A check of a backend may be under way at either moment.
		if f := h.files(tb); f.sockets > start.sockets+1 || f.others > start.others || f.pipes > start.pipes+2*idlePipes*loops {
			left = append(left, fmt.Sprintf("descriptors %+v, %+v at the start", f, start))
		}
		return len(left) == 0
	})
	if !ok {
		tb.Errorf("%v after the last client has gone there are left: %s", within, strings.Join(left, "; "))
	}
	return time.Since(began)
}

// fileLimit is how many descriptors this process, and homing, may have; Go has raised it to the hard limit.
func fileLimit(tb testing.TB) int {
	tb.Helper()
	var limit syscall.Rlimit
	testkit.Check(tb, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	return int(min(limit.Cur, 1<<30))
}

// soak says whether the long runs are wanted.
func soak() bool { return os.Getenv("HOMING_SOAK") == "1" }

// mebi is for logs.
func mebi(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

package integration

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// lineage is a homing and the processes that take its place, one after another.
type lineage struct {
	homing
	path string // of a program of its own, so that it can be replaced
	args []string
	out  string // file of all that any of them says
	env  []string

	isReady func() bool // nil: by HTTP

	group  int // of processes: the first one's PID
	newest int // PID
}

// newLineage prepares one before the given backends; start starts it.
func newLineage(tb testing.TB, backends []string, flags ...string) *lineage {
	tb.Helper()
	dir := tb.TempDir()
	l := &lineage{homing: homing{addr: testkit.FreeAddr(tb), admin: testkit.FreeAddr(tb)}, path: filepath.Join(dir, "homing"), out: filepath.Join(dir, "out")}
	l.install(tb, binary)
	l.args = []string{"run", "--listen", l.addr, "--admin", l.admin, "--drain-timeout", "60s"}
	for _, b := range backends {
		l.args = append(l.args, "--backend", b)
	}
	l.args = append(l.args, flags...)
	return l
}

// install puts a program at the path, as a package manager does: another file under the name.
func (l *lineage) install(tb testing.TB, program string) {
	tb.Helper()
	content, err := os.ReadFile(program)
	testkit.Check(tb, err)
	l.installText(tb, content, 0o755)
}

func (l *lineage) installText(tb testing.TB, content []byte, mode os.FileMode) {
	tb.Helper()
	next := l.path + ".new"
	testkit.Check(tb, os.WriteFile(next, content, mode))
	if err := os.Rename(next, l.path); err != nil {
		tb.Fatal(err)
	}
}

// start starts the first process, and sees to it that none of the lineage is left, not even if this process is killed:
// all of them are in one group, which a shell kills when our end of its stdin is gone.
func (l *lineage) start(tb testing.TB, wrapper ...string) {
	tb.Helper()
	out, err := os.OpenFile(l.out, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	testkit.Check(tb, err)
	defer out.Close()
	line := append(append(wrapper, l.path), l.args...)
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Env = out, out, append(os.Environ(), l.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	testkit.Check(tb, cmd.Start())
	l.group, l.newest = cmd.Process.Pid, cmd.Process.Pid
	go func() { _ = cmd.Wait() }() // how it ended is told by its output
	guard := exec.Command("/bin/sh", "-c", `cat; kill -9 -- -"$1"`, "guard", strconv.Itoa(l.group))
	life, err := guard.StdinPipe()
	testkit.Check(tb, err)
	testkit.Check(tb, guard.Start())
	tb.Cleanup(func() {
		l.stop(tb)
		life.Close()
		_ = guard.Wait() // it kills nobody, as a rule, and says so by its exit code
		if l.said(tb, "DATA RACE")+l.said(tb, "panic: ") > 0 {
			tb.Error("a process raced or panicked")
		}
		if tb.Failed() {
			text, _ := os.ReadFile(l.out)
			tb.Logf("the lineage said:\n%s", text)
		}
	})
	testkit.Eventually(tb, "homing is ready", func() bool { return l.ready(tb) })
}

// stop ends all of them in order.
func (l *lineage) stop(tb testing.TB) {
	tb.Helper()
	for range 2 { // the second signal does not wait for conns
		for _, pid := range l.alive(tb) {
			_ = syscall.Kill(pid, syscall.SIGTERM)
		}
		if testkit.Wait(3*time.Second, func() bool { return len(l.alive(tb)) == 0 }) {
			return
		}
	}
	if !testkit.Wait(5*time.Second, func() bool { return len(l.alive(tb)) == 0 }) {
		tb.Errorf("processes %v have not ended", l.alive(tb))
	}
}

// alive is the processes of the lineage that there are, in the order of their PIDs.
func (l *lineage) alive(tb testing.TB) (pids []int) {
	tb.Helper()
	entries, err := os.ReadDir("/proc")
	testkit.Check(tb, err)
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue
		}
		// "pid (comm) state ppid pgrp ...", proc(5); comm may hold brackets.
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(f) > 2 && f[0] != "Z" && f[2] == strconv.Itoa(l.group) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// ready reports whether whoever answers operators takes conns.
func (l *lineage) ready(tb testing.TB) bool {
	tb.Helper()
	if l.isReady != nil {
		return l.isReady()
	}
	resp, err := http.Get("http://" + l.admin + "/readyz")
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// upgrade asks for an upgrade as operators do, and returns the error that the answer carries, "" if there is none.
func (l *lineage) upgrade(tb testing.TB) string {
	tb.Helper()
	before := l.alive(tb)
	resp, err := http.Post("http://"+l.admin+"/v1/upgrade", "application/json", strings.NewReader("{}"))
	testkit.Check(tb, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	testkit.Check(tb, err)
	if resp.StatusCode != http.StatusOK {
		var answer struct{ Error string }
		if err := json.Unmarshal(body, &answer); err != nil || answer.Error == "" {
			tb.Fatalf("%s: %s", resp.Status, body)
		}
		return answer.Error
	}
	l.follow(tb, before)
	return ""
}

// upgradeBySignal asks for one by SIGUSR2, and returns when the new process is there.
func (l *lineage) upgradeBySignal(tb testing.TB) {
	tb.Helper()
	before := l.alive(tb)
	done := l.said(tb, "upgrade done")
	testkit.Check(tb, syscall.Kill(l.newest, syscall.SIGUSR2))
	testkit.Eventually(tb, "the upgrade is done", func() bool { return l.said(tb, "upgrade done") > done })
	l.follow(tb, before)
}

// follow finds the process that is new.
func (l *lineage) follow(tb testing.TB, before []int) {
	tb.Helper()
	var fresh []int
	for _, pid := range l.alive(tb) {
		if !slices.Contains(before, pid) {
			fresh = append(fresh, pid)
		}
	}
	if len(fresh) != 1 {
		tb.Fatalf("processes %v are new, want one", fresh)
	}
	l.newest = fresh[0]
}

// said counts the lines that contain a text.
func (l *lineage) said(tb testing.TB, text string) (n int) {
	tb.Helper()
	content, err := os.ReadFile(l.out)
	testkit.Check(tb, err)
	for line := range strings.Lines(string(content)) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// kept is a conn that stays open, over which requests are made.
type kept struct {
	conn   *tls.Conn
	answer *bufio.Reader
}

// keep opens a conn that stays.
func keep(t *testing.T, addr string, cert *farm.Certificate) *kept {
	t.Helper()
	raw, err := (&tls.Dialer{Config: &tls.Config{ServerName: farm.ServerName, RootCAs: farm.Roots(cert)}}).DialContext(t.Context(), "tcp", addr)
	testkit.Check(t, err)
	t.Cleanup(func() { raw.Close() })
	k := &kept{conn: raw.(*tls.Conn), answer: bufio.NewReader(raw)}
	k.ask(t)
	return k
}

// ask makes one request over the conn.
func (k *kept) ask(t *testing.T) {
	t.Helper()
	if err := k.try(); err != nil {
		t.Errorf("a conn that was open: %v", err)
	}
}

func (k *kept) try() error {
	if err := k.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(k.conn, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", farm.ServerName); err != nil {
		return err
	}
	resp, err := http.ReadResponse(k.answer, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

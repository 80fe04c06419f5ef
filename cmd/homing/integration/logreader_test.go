package integration

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homing/bench/testkit"
)

// patience bounds what is to happen at once, on a busy machine.
const patience = 20 * time.Second

// logReader is a stderr, and what becomes of it while the process runs.
type logReader struct {
	what   string
	stderr func(t *testing.T) (stderr, read *os.File) // read may be nil
	spoil  func(t *testing.T, stderr, read *os.File)
}

func logPipe(t *testing.T) (stderr, read *os.File) {
	t.Helper()
	read, stderr, err := os.Pipe()
	testkit.Check(t, err)
	return stderr, read
}

// fillPipe fills a pipe; who writes to it waits from then on, or is told to come again if waits is false.
func fillPipe(t *testing.T, pipe *os.File, waits bool) {
	t.Helper()
	fd := int(pipe.Fd())
	testkit.Check(t, unix.SetNonblock(fd, true))
	for size := 4096; size > 0; {
		if _, err := unix.Write(fd, make([]byte, size)); err != nil {
			size /= 2
		}
	}
	if waits {
		testkit.Check(t, unix.SetNonblock(fd, false))
	}
}

func logReaders() []logReader {
	device := func(path string) func(t *testing.T) (stderr, read *os.File) {
		return func(t *testing.T) (*os.File, *os.File) {
			t.Helper()
			file, err := os.OpenFile(path, os.O_WRONLY, 0)
			testkit.Check(t, err)
			return file, nil
		}
	}
	return []logReader{
		{"gone", logPipe, func(_ *testing.T, _, read *os.File) { read.Close() }},
		{"stuck", logPipe, func(t *testing.T, stderr, _ *os.File) { fillPipe(t, stderr, true) }},
		{"stuck, and the pipe is non-blocking", logPipe, func(t *testing.T, stderr, _ *os.File) { fillPipe(t, stderr, false) }},
		{"a full disk", device("/dev/full"), func(*testing.T, *os.File, *os.File) {}},
	}
}

// echoServer sends back what comes, at an address that can be closed and opened again.
type echoServer struct {
	addr     string
	listener net.Listener
}

func (e *echoServer) open(t *testing.T) {
	t.Helper()
	e.listener = testkit.Listen(t, "tcp", cmp.Or(e.addr, "127.0.0.1:0"))
	e.addr = testkit.ServeOn(t, e.listener, func(conn net.Conn) { _, _ = io.Copy(conn, conn) }) // until the client has enough
}

// echoed sends a byte over a conn, and gets it back.
func echoed(conn net.Conn) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("x")); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, make([]byte, 1))
	return err
}

// dialEcho opens a conn that has a backend.
func dialEcho(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	testkit.Check(t, err)
	t.Cleanup(func() { conn.Close() })
	if err := echoed(conn); err != nil {
		t.Fatalf("a new conn: %v", err)
	}
	return conn
}

// asked is what operators are answered within the time of patience.
func asked(t *testing.T, method, url string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader("{}"))
	testkit.Check(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), err
}

// Whoever reads the log, or does not, decides over nothing: the node goes on in all that it does, is asked and told as ever,
// hands over, and ends in order.
func TestIntegrationLogReader(t *testing.T) {
	needServers(t)
	for _, reader := range logReaders() {
		t.Run(reader.what, func(t *testing.T) {
			var backends [2]echoServer
			for i := range backends {
				backends[i].open(t)
			}
			l := newLineage(t, []string{backends[0].addr, backends[1].addr}, "--tls", "off", "--log-conns", "--check-interval",
				"100ms", "--check-timeout", "100ms", "--drain-timeout", "5s")
			stderr, read := reader.stderr(t)
			t.Cleanup(func() {
				stderr.Close()
				if read != nil {
					read.Close()
				}
			})
			code := l.startWith(t, stderr)
			kept := dialEcho(t, l.addr)
			reader.spoil(t, stderr, read)
			stderr.Close() // the process has its own

			status := func(want string) {
				t.Helper()
				var body string
				var err error
				if !testkit.Wait(patience, func() bool {
					body, err = asked(t, http.MethodGet, "http://"+l.admin+"/v1/status")
					return err == nil && strings.Count(body, `"health":"down"`) == strings.Count(want, "down")
				}) {
					t.Fatalf("status, %s: %v: %s", want, err, body)
				}
			}
			backends[1].listener.Close() // its end is logged while the pool is locked
			status("one is down")
			backends[1].open(t)
			status("both are up")

			// Out of descriptors the loops themselves have something to say. None at all: what a check gives back would do for
			// taking a conn, and there is no other for its backend.
			var before unix.Rlimit
			testkit.Check(t, unix.Prlimit(l.newest, unix.RLIMIT_NOFILE, nil, &before))
			testkit.Check(t, unix.Prlimit(l.newest, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: before.Max}, nil))
			waiting, err := net.Dial("tcp", l.addr)
			testkit.Check(t, err)
			defer waiting.Close()
			for range 10 {
				if err := echoed(kept); err != nil {
					t.Fatalf("a conn that is open, out of descriptors: %v", err)
				}
			}
			testkit.Check(t, unix.Prlimit(l.newest, unix.RLIMIT_NOFILE, &before, nil))
			if err := echoed(waiting); err != nil {
				t.Fatalf("a conn that came out of descriptors: %v", err)
			}

			// More conns than the queue of lines holds.
			for range 2500 {
				conn, err := net.Dial("tcp", l.addr)
				testkit.Check(t, err)
				testkit.Check(t, echoed(conn))
				conn.Close()
			}
			if body, err := asked(t, http.MethodPost, "http://"+l.admin+"/v1/reload"); err != nil {
				t.Fatalf("reload: %v: %s", err, body)
			}
			if n := l.metrics(t)["homing_log_dropped_total"]; n == 0 {
				t.Error("no line is counted as dropped")
			}
			elder := l.newest
			if said := l.upgrade(t); said != "" {
				t.Fatalf("upgrade: %s", said)
			}
			if err := echoed(kept); err != nil {
				t.Fatalf("a conn that was open before the upgrade: %v", err)
			}
			dialEcho(t, l.addr).Close()
			kept.Close()
			waiting.Close()
			select {
			case code := <-code:
				if code != 0 {
					t.Errorf("the process that was replaced ends with %d", code)
				}
			case <-time.After(patience):
				t.Fatalf("process %d does not end", elder)
			}
			backends[0].listener.Close()
			status("one is down")
			dialEcho(t, l.addr).Close()
			testkit.Check(t, syscall.Kill(l.newest, syscall.SIGTERM))
			if !testkit.Wait(patience, func() bool { return len(l.alive(t)) == 0 }) {
				t.Fatalf("SIGTERM: processes %v", l.alive(t))
			}
		})
	}
}

// A reader that was stuck for a while finds, where lines are missing, how many.
func TestIntegrationLogFlowsAgain(t *testing.T) {
	needServers(t)
	var backend echoServer
	backend.open(t)
	l := newLineage(t, []string{backend.addr}, "--tls", "off", "--log-conns")
	stderr, read := logPipe(t)
	defer read.Close()
	code := l.startWith(t, stderr)
	stderr.Close()
	const conns = 4000
	for range conns {
		dialEcho(t, l.addr).Close()
	}
	testkit.Within(t, patience, "conns end", func() bool { return l.metrics(t)["homing_conns_open"] == 0 })
	dropped := l.metrics(t)["homing_log_dropped_total"]
	if dropped == 0 {
		t.Fatal("no line was dropped")
	}
	lines := make(chan string, 10*conns)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(read); s.Scan(); {
			lines <- s.Text()
		}
	}()
	n, missing := 0, ""
	for missing == "" {
		select {
		case line := <-lines:
			if strings.Contains(line, "msg=conn ") {
				n++
			}
			if strings.Contains(line, "lines are missing here") {
				missing = line
			}
		case <-time.After(patience):
			t.Fatalf("after %d lines: none says what is missing", n)
		}
	}
	if want := fmt.Sprintf("lines=%.0f", dropped); !strings.HasSuffix(missing, want) || n+int(dropped) != conns {
		t.Errorf("%d lines of %d conns, then %q; %v were dropped", n, conns, missing, dropped)
	}
	testkit.Check(t, syscall.Kill(l.newest, syscall.SIGTERM))
	if got := <-code; got != 0 {
		t.Errorf("exit code %d", got)
	}
	last := ""
	for line := range lines {
		last = line
	}
	if !strings.Contains(last, "msg=drained") {
		t.Errorf("the last line is %q", last)
	}
}

// startWith starts the first process with a stderr that is this test's. Its exit code comes when it has ended.
func (l *lineage) startWith(t *testing.T, stderr *os.File) <-chan int {
	t.Helper()
	cmd := exec.Command(l.path, l.args...)
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	testkit.Check(t, cmd.Start())
	l.group, l.newest = cmd.Process.Pid, cmd.Process.Pid
	code := make(chan int, 1)
	go func() {
		_ = cmd.Wait() // the code says how it ended
		code <- cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() { _ = syscall.Kill(-l.group, syscall.SIGKILL) }) // as a rule there is none left
	testkit.Within(t, patience, "homing is ready", func() bool { return l.ready(t) })
	return code
}

// The agent leaves its cluster in order, and announces its backend, whoever reads its log.
func TestIntegrationAgentLogReader(t *testing.T) {
	needServers(t)
	for _, reader := range logReaders() {
		t.Run(reader.what, func(t *testing.T) {
			w := newTown(t, "--log-level", "info")
			w.build(t, 1)
			var backend echoServer
			backend.open(t)
			stderr, read := reader.stderr(t)
			defer stderr.Close()
			if read != nil {
				defer read.Close()
			}
			cmd := exec.Command(binary, "agent", "--backend", backend.addr, "--cluster-join", w.nodes[0].gossip,
				"--gossip-key-file", w.gossipKey, "--check-interval", "100ms", "--log-level", "debug")
			cmd.Stderr = stderr
			testkit.Check(t, cmd.Start())
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			defer func() { _ = cmd.Process.Kill() }() // it has ended, if all is well
			agents := func(want float64) bool {
				return w.nodes[0].metrics(t)[fmt.Sprintf("homing_cluster_members{role=%q,state=%q}", "agent", "alive")] == want
			}
			testkit.Eventually(t, "the agent is there", func() bool { return agents(1) })
			reader.spoil(t, stderr, read)
			for _, up := range []bool{false, true, false, true} {
				followed := w.nowhere(t, backend.addr) // a node's own check takes no backend out
				if up {
					backend.open(t)
					followed = w.everywhere(t, backend.addr)
				} else {
					backend.listener.Close()
				}
				testkit.Eventually(t, fmt.Sprintf("the agent announces that up is %t", up), followed)
			}
			testkit.Check(t, cmd.Process.Signal(syscall.SIGTERM))
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("the agent: %v", err)
				}
			case <-time.After(patience):
				t.Error("the agent does not end")
			}
			testkit.Eventually(t, "the agent left", func() bool { return agents(0) })
		})
	}
}

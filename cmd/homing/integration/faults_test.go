package integration

import (
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// inject has strace make system calls of a process fail, as its option inject says, until the function that it returns is
// called.
func inject(t *testing.T, pid int, what string) (end func()) {
	t.Helper()
	call, _, _ := strings.Cut(what, ":")
	cmd := exec.Command("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace="+call, "-e", "inject="+what, "-p", strconv.Itoa(pid))
	testkit.Check(t, cmd.Start())
	tracer := "TracerPid:\t" + strconv.Itoa(cmd.Process.Pid) + "\n"
	traced := func() bool { // all threads
		tasks, _ := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
		for _, task := range tasks {
			status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + task.Name() + "/status")
			if err != nil || !strings.Contains(string(status), tracer) {
				return false
			}
		}
		return len(tasks) > 0
	}
	if !testkit.Wait(testkit.Patience, traced) {
		_ = cmd.Process.Kill()
		t.Fatal("strace does not trace: is ptrace allowed here?")
	}
	return func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // it says how it was ended
	}
}

// What the kernel does not take on a connection that stands is no word of the peer's, which nothing would bring to light: the
// conn is reset and counted, and does not wait for the idle timeout.
func TestIntegrationFaultsOfSend(t *testing.T) {
	needServers(t)
	for _, engine := range []string{"io_uring", "epoll"} {
		for _, errno := range []string{"ENOMEM", "EPERM", "EPIPE", "EIO"} {
			t.Run(engine+" "+errno, func(t *testing.T) {
				ln := testkit.Listen(t, "tcp", "127.0.0.1:0")
				go answerAll(ln)
				h := startHoming(t, []string{ln.Addr().String()}, "--engine", engine, "--loops", "1", "--probe", "off", "--no-checks")
				c, err := net.Dial("tcp", h.addr)
				testkit.Check(t, err)
				defer c.Close()
				testkit.Check(t, roundTrip(c, plainHello()))
				end := inject(t, h.proc.PID(), "sendto:error="+errno)
				if _, err := c.Write([]byte("more")); err != nil {
					t.Error(err)
				}
				_ = c.SetReadDeadline(time.Now().Add(idlePatience)) // an open socket takes any
				if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || os.IsTimeout(err) {
					t.Errorf("the client got %d bytes and %v, want its end", n, err)
				}
				end()
				counted := func() bool { return h.metrics(t)[`homing_terminations_total{code="RD"}`] == 1 }
				testkit.Within(t, idlePatience, "a conn is counted as ended for a shortage", counted)
			})
		}
	}
}

// A ring that the kernel has no memory for goes on when there is some; one that has lost completions, or has none for long,
// ends the process with a line and a code.
func TestIntegrationFaultsOfRing(t *testing.T) {
	needServers(t)
	ln := testkit.Listen(t, "tcp", "127.0.0.1:0")
	go answerAll(ln)
	start := func(t *testing.T) (addr string, proc *farm.Process, c net.Conn) {
		addr = testkit.FreeAddr(t)
		proc = testkit.Start(t, addr, binary, "run", "--listen", addr, "--backend", ln.Addr().String(), "--engine", "io_uring",
			"--loops", "1", "--probe", "off", "--no-checks")
		c, err := net.Dial("tcp", addr)
		testkit.Check(t, err)
		t.Cleanup(func() { c.Close() })
		testkit.Check(t, roundTrip(c, plainHello()))
		return addr, proc, c
	}
	t.Run("ENOMEM, some", func(t *testing.T) {
		_, proc, c := start(t)
		end := inject(t, proc.PID(), "io_uring_enter:error=ENOMEM:when=1..200")
		if err := roundTrip(c, []byte("more")); err != nil {
			t.Errorf("a conn that was there: %v", err)
		}
		end()
	})
	for what, errno := range map[string]string{"io_uring_enter:error=ENOMEM": "cannot allocate memory", "io_uring_enter:error=EBADR": "invalid request descriptor"} {
		t.Run(what, func(t *testing.T) {
			_, proc, c := start(t)
			end := inject(t, proc.PID(), what)
			defer end()
			_, _ = c.Write([]byte("more")) // or it would wait
			select {
			case <-proc.Done():
			case <-time.After(time.Minute):
				t.Fatal("it goes on")
			}
			if out := proc.Output(); !strings.Contains(out, "a loop has failed") || !strings.Contains(out, errno) {
				t.Errorf("it said: %s", out)
			}
			_ = c.SetReadDeadline(time.Now().Add(idlePatience)) // an open socket takes any
			if _, err := io.ReadAll(c); os.IsTimeout(err) {
				t.Error("a conn is still open")
			}
		})
	}
}

package farm

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startTimeout bounds the wait for a server's first accepted conn. nginx starts in 20 ms;
	// the rest is for a machine that is busy with other tests.
	startTimeout = 10 * time.Second
	// stopTimeout bounds the wait for a clean end before the process is killed.
	stopTimeout = 5 * time.Second
	// pollEvery is the pause between two looks at a condition that nothing announces.
	pollEvery = 5 * time.Millisecond
)

// Process is one server in the foreground, and what it wrote to stdout and stderr.
type Process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has been waited for
	out  *tail
}

// Start runs a program and returns once something accepts on addr. A program that ends first,
// or does not accept within 10 s, is an error that carries what it printed.
func Start(ctx context.Context, addr, path string, args ...string) (*Process, error) {
	p := &Process{name: filepath.Base(path), done: make(chan struct{}), out: &tail{}}
	// Not CommandContext: the end of ctx would kill the master alone and orphan its workers.
	p.cmd = exec.Command(path, args...) //nolint:noctx // see above
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	// A test or demo that is killed stops nothing any more; then the kernel asks the server to end.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("farm: start %s: %w", p.name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is told by its output
		close(p.done)
	}()
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err := until(ctx, func() (bool, error) {
		select {
		case <-p.done:
			return false, fmt.Errorf("%s ended: %s", p.name, strings.TrimSpace(p.out.String()))
		default:
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return false, nil //nolint:nilerr // not up yet
		}
		return true, c.Close()
	})
	if err != nil {
		p.Kill()
		return nil, fmt.Errorf("farm: wait for %s on %s: %w", p.name, addr, err)
	}
	return p, nil
}

// PID returns the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output returns the last 64 KiB that the process wrote.
func (p *Process) Output() string { return p.out.String() }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Signal sends a signal to the process itself.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("farm: signal %s: %w", p.name, err)
	}
	return nil
}

// Kill ends the process and its children at once, as a crash of the machine would. Its kernel
// resets the conns that were open.
func (p *Process) Kill() {
	workers := p.Children() // before the master dies: orphans have another parent
	_ = p.cmd.Process.Kill()
	for _, pid := range workers {
		if w, err := os.FindProcess(pid); err == nil {
			_ = w.Kill() // already gone is as good
		}
	}
	<-p.done
	// The workers hold the listening socket until they are gone, and they are not ours to wait for.
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	_ = until(ctx, func() (bool, error) { return !anyAlive(workers), nil })
}

// Stop asks the process to end (interrupt), and kills it when it has not within 5 s.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.Kill()
	}
}

// Children returns the process IDs of the children, by a look through /proc.
func (p *Process) Children() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent, state := statOf(pid); parent == p.PID() && state != 'Z' {
			pids = append(pids, pid)
		}
	}
	return pids
}

// statOf reads the parent and the state letter of a process from /proc/PID/stat, proc(5); 0 and 'X'
// when there is none.
func statOf(pid int) (parent int, state byte) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 'X'
	}
	// "pid (comm) state ppid ...", and comm may hold spaces and brackets.
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 2 || f[0] == "" {
		return 0, 'X'
	}
	parent, _ = strconv.Atoi(f[1])
	return parent, f[0][0]
}

func anyAlive(pids []int) bool {
	for _, pid := range pids {
		if _, state := statOf(pid); state != 'X' && state != 'Z' {
			return true
		}
	}
	return false
}

// until asks cond every 5 ms until it holds, it fails, or ctx is done.
func until(ctx context.Context, cond func() (bool, error)) error {
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		if ok, err := cond(); ok || err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tail keeps the last 64 KiB written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 64 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if n := len(t.buf) - tailBytes; n > 0 {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

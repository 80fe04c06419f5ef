package proc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// readyTimeout bounds the wait for the first accepted conn. Balancers and web servers start in well under a second;
	// the rest is for a machine that is busy with a load.
	readyTimeout = 15 * time.Second
	// stopTimeout bounds the wait for a clean end, before the program is killed.
	stopTimeout = 5 * time.Second
	// outputDelay is how long what a program has ended wrote is waited for while a child of it holds the pipe.
	outputDelay = 100 * time.Millisecond
	// pollEvery is the pause between two looks at a condition that nothing announces.
	pollEvery = 5 * time.Millisecond
)

// Command says what to start.
type Command struct {
	// Path is the program, Args its arguments without the program's name.
	Path string
	Args []string
	// Dir is the working directory; empty is this process's.
	Dir string
	// Ready lists the addresses (host:port, TCP) on all of which the program must accept before Start returns.
	Ready []string
	// ReadyTimeout bounds that wait; 0 is 15 s.
	ReadyTimeout time.Duration
	// Terminate has Stop send SIGTERM, for programs that take an interrupt for their parent process alone.
	Terminate bool
}

// Process is one running program. Its methods may be called from any goroutine.
type Process struct {
	name string
	cmd  *exec.Cmd
	end  os.Signal     // that Stop sends
	done chan struct{} // closed when the process has been waited for
	out  *tail
}

// Start starts a program and returns once it accepts on every address of Ready. One that ends first, or does not accept
// in time, is an error that carries the last line it printed, and nothing is left running.
func Start(ctx context.Context, c Command) (*Process, error) {
	p := &Process{name: filepath.Base(c.Path), end: os.Interrupt, done: make(chan struct{}), out: &tail{}}
	if c.Terminate {
		p.end = syscall.SIGTERM
	}
	// Not CommandContext: the end of ctx would kill the parent alone and orphan its children.
	p.cmd = exec.Command(c.Path, c.Args...) // see above
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = c.Dir, p.out, p.out
	p.cmd.WaitDelay = outputDelay
	// The kernel asks the program to end when this process dies, however that comes about, and the terminal's Ctrl-C is
	// kept from it: programs under measurement end when the measurement has.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is told by its output
		close(p.done)
	}()
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.ReadyTimeout, readyTimeout))
	defer cancel()
	for _, addr := range c.Ready {
		if err := p.ready(ctx, addr); err != nil {
			p.Kill()
			return nil, err
		}
	}
	return p, nil
}

// ready waits until the program accepts on the address.
func (p *Process) ready(ctx context.Context, addr string) error {
	err := Until(ctx, func() (bool, error) {
		select {
		case <-p.done:
			return false, fmt.Errorf("%s ended before it was ready: %s", p.name, p.LastLine())
		default:
		}
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			return false, nil // not up yet
		}
		return true, c.Close()
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s does not accept on %s: %w: %s", p.name, addr, err, p.LastLine())
	}
	return err
}

// PID returns the process ID.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Tree returns the process IDs of the process and all its descendants.
func (p *Process) Tree() []int { return Tree(p.PID()) }

// Output returns the last 64 KiB that the process wrote to stdout and stderr.
func (p *Process) Output() string { return p.out.String() }

// LastLine returns the last line of Output that is not empty, or a word that there is none.
func (p *Process) LastLine() string {
	lines := strings.Split(strings.TrimSpace(p.out.String()), "\n")
	return cmp.Or(strings.TrimSpace(lines[len(lines)-1]), "it printed nothing")
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Signal sends a signal to the process, not to its children.
func (p *Process) Signal(s os.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	return nil
}

// Kill ends the process and its descendants at once, as a crash would, and returns when all are gone. The kernel resets
// the conns that were open.
func (p *Process) Kill() {
	all := p.Tree() // before the parent dies: orphans have another one
	_ = p.cmd.Process.Kill()
	for _, pid := range all {
		if pid == p.PID() {
			continue
		}
		if child, err := os.FindProcess(pid); err == nil {
			_ = child.Kill() // already gone is as good
		}
	}
	<-p.done
	// The children hold the listening socket until they are gone, and they are not ours to wait for.
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	_ = Until(ctx, func() (bool, error) { return !anyAlive(all), nil })
}

// Stop asks the process to end (SIGINT, or SIGTERM), and kills it when it has not within 5 s.
func (p *Process) Stop() {
	all := p.Tree()
	_ = p.cmd.Process.Signal(p.end) // already gone is as good
	t := time.NewTimer(stopTimeout)
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
		p.Kill()
	}
	for _, pid := range all { // children that outlive their parent
		if child, err := os.FindProcess(pid); err == nil && pid != p.PID() && alive(pid) {
			_ = child.Kill()
		}
	}
}

// Until asks cond every 5 ms until it holds or fails, or until ctx is done, whose error it then returns.
func Until(ctx context.Context, cond func() (bool, error)) error {
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

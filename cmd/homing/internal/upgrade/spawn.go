//go:build linux

package upgrade

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// envHeir names the descriptor of the channel in the environment of an heir.
	envHeir = "HOMING_HEIR"

	// heirChannel and heirStderr are descriptors of the heir, behind its standard ones.
	heirChannel = 3
	heirStderr  = 4

	// longestLine bounds the line that is kept of what an heir says, in bytes.
	longestLine = 1024

	// lastWords bounds the wait for what an heir that has ended still had to say.
	lastWords = 2 * time.Second
)

// Command says how to start this program again.
type Command struct {
	Path string
	Args []string // with the name of the program first
	Dir  string
}

// Self is the command that this process was started with, the path as it was given: where a link leads to another
// version by the time of an upgrade, that one is started. Call it before anything changes the directory.
func Self() (Command, error) {
	dir, err := os.Getwd()
	if err != nil {
		return Command{}, fmt.Errorf("upgrade: %w", err)
	}
	path, err := exec.LookPath(os.Args[0])
	if err != nil && !errors.Is(err, exec.ErrDot) { // started under a name that is no path
		path, err = os.Executable()
	}
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return Command{}, fmt.Errorf("upgrade: where is this program? %w", err)
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	return Command{Path: path, Args: slices.Clone(os.Args), Dir: dir}, nil
}

// environment is ours without what is for this process alone, and with the channel.
func environment(ours []string) []string {
	private := []string{envHeir, "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID"}
	env := slices.DeleteFunc(slices.Clone(ours), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return slices.Contains(private, name)
	})
	return append(env, fmt.Sprintf("%s=%d", envHeir, heirChannel))
}

// heir is a process that was started to take this one's place.
type heir struct {
	channel *channel
	cmd     *exec.Cmd
	ended   chan struct{} // closed once it has been waited for
	state   string        // how it ended; read after ended
	serves  atomic.Bool   // what it has started stays when it ends
	failed  bool          // it did so badly; read after ended
	said    *errorLine
}

// start starts the heir. What it says on stderr goes to said, word for word, until it has taken over; then to stderr.
func (c *Command) start(env []string, stderr *os.File, said io.Writer) (h *heir, err error) {
	ours, theirs, err := newChannels()
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	read, write, err := os.Pipe()
	if err != nil {
		ours.close()
		return nil, err
	}
	defer write.Close()
	h = &heir{channel: ours, ended: make(chan struct{}), said: &errorLine{heard: make(chan struct{})}}
	h.cmd = &exec.Cmd{
		Path: c.Path, Args: c.Args, Dir: c.Dir, Env: env,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: write, ExtraFiles: []*os.File{theirs, stderr},
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true}, // see waitForChild
	}
	wait := h.waitForChild
	if ofSystemd() {
		life := -1
		h.cmd.SysProcAttr.Cloneflags, h.cmd.SysProcAttr.PidFD = unix.CLONE_PARENT, &life
		wait = func() { h.waitForSibling(life) }
	}
	if err := h.cmd.Start(); err != nil {
		ours.close()
		return nil, errors.Join(err, read.Close())
	}
	go h.said.listen(read, said)
	go wait()
	return h, nil
}

// ofSystemd says that the system's manager has started this process and looks after it. It waits, when it stops a
// service, for its own children alone, and hears of their end alone: the heir has to be one, not ours.
func ofSystemd() bool { return os.Getenv("NOTIFY_SOCKET") != "" && os.Getppid() == 1 }

// waitForChild waits for the end of what was started. All of its process group goes with it unless it serves: where the
// program is a script that does not exec, what it has started would keep the listening sockets, or the messages that
// bring them, and clients would connect to nobody once this process has closed its own. A number that is waited for may
// be given to others, so the group goes first.
func (h *heir) waitForChild() {
	defer close(h.ended)
	for errors.Is(unix.Waitid(unix.P_PID, h.pid(), nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
		continue
	}
	h.endGroup()
	h.state = "exit status 0"
	if err := h.cmd.Wait(); err != nil {
		h.state, h.failed = err.Error(), true
	}
}

func (h *heir) endGroup() {
	if !h.serves.Load() {
		_ = unix.Kill(-h.pid(), unix.SIGKILL) // the one that has ended is in it, so as a rule there is one
	}
}

// siblingLook is the time between two looks whether a sibling lives, on Linux before 5.3.
const siblingLook = 50 * time.Millisecond

// waitForSibling waits for a process that is systemd's to reap, by its pidfd; -1: the kernel has none. systemd may have
// reaped it a moment before the group is ended; numbers are not given again that soon.
func (h *heir) waitForSibling(life int) {
	defer close(h.ended)
	defer h.endGroup()
	h.state = "with an exit status that systemd has"
	if life < 0 {
		tick := time.NewTicker(siblingLook)
		defer tick.Stop()
		for ; !errors.Is(unix.Kill(h.pid(), 0), unix.ESRCH); <-tick.C {
		}
		return
	}
	fds := []unix.PollFd{{Fd: int32(life), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	_ = unix.Close(life) // ours since the start
}

func (h *heir) pid() int { return h.cmd.Process.Pid }

// kill ends the heir, with all that it has started, and waits for that.
func (h *heir) kill() {
	_ = h.cmd.Process.Kill() // it may have ended by itself
	<-h.ended
	h.channel.close()
}

// obituary says how an heir that has ended by itself, or was killed, came to that.
func (h *heir) obituary() string {
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	select {
	case <-h.said.heard:
	case <-timer.C: // a child of its own holds the pipe
	}
	if line := h.said.line(); line != "" {
		return fmt.Sprintf("%s (%s)", line, h.state)
	}
	return h.state + ", and it said nothing"
}

// errorLine finds, in what an heir says, the line that tells why it failed.
type errorLine struct {
	heard chan struct{} // closed when it says nothing any more

	mu          sync.Mutex
	first, last string // guarded by mu: the first line that is an error, the last of all
}

// listen copies lines until the heir closes its end.
func (l *errorLine) listen(from *os.File, to io.Writer) {
	defer close(l.heard)
	defer from.Close()
	lines := bufio.NewReaderSize(from, longestLine)
	for {
		line, err := lines.ReadSlice('\n') // a longer one comes in parts
		if len(line) > 0 {
			_, _ = to.Write(line) // it may be lost there
			l.add(strings.TrimSpace(string(line)))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (l *errorLine) add(line string) {
	if line == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = line
	if l.first == "" && isError(line) {
		l.first = line
	}
}

func (l *errorLine) line() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.first != "" {
		return strings.TrimPrefix(l.first, "homing: ")
	}
	return l.last
}

// isError tells the lines with which this program, or the runtime of Go, ends from those of the log.
func isError(line string) bool {
	begins := []string{"homing: ", "panic: ", "fatal error: ", "runtime: ", "SIG"}
	return slices.ContainsFunc(begins, func(prefix string) bool { return strings.HasPrefix(line, prefix) })
}

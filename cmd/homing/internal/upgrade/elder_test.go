//go:build linux

package upgrade

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"homing/bench/testkit"
)

func descriptors(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	testkit.Check(t, err)
	return len(files)
}

// children counts processes that this one has and that have not been waited for.
func children(t *testing.T) int {
	t.Helper()
	return len(childPIDs(t))
}

// While an heir takes over, every conn is answered, first by the elder, in the end by the heir.
func TestUpgrade(t *testing.T) {
	e := newElder(t)
	var log bytes.Buffer
	u := NewUpgrader(Config{Command: again(t, "good"), Version: "v9", Log: slog.New(slog.NewTextHandler(&log, nil)), Stderr: e.said})
	if pid := e.ask(); pid != os.Getpid() {
		t.Fatalf("%d answers", pid)
	}
	stop := make(chan struct{})
	var asking sync.WaitGroup
	asked := 0
	asking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				e.ask()
				asked++
			}
		}
	})
	if err := u.Upgrade(t.Context(), e.steps()); err != nil {
		t.Fatal(err)
	}
	close(stop)
	asking.Wait()
	<-u.Replaced()
	heir := <-e.letGo
	if pid := e.ask(); pid != heir || heir == os.Getpid() {
		t.Errorf("%d answers, the heir is %d", pid, heir)
	}
	if asked == 0 {
		t.Error("nobody asked")
	}
	if err := u.Upgrade(t.Context(), e.steps()); !errors.Is(err, ErrReplaced) {
		t.Errorf("a second upgrade of one process: %v", err)
	}
	// What the heir says after the hand-over goes to the same file, and not through this process.
	wait(t, "the heir speaks", func() bool { return strings.Contains(e.output(), "heir farewell") })
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", heir))
	testkit.Check(t, err)
	for _, f := range files {
		to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", heir, f.Name()))
		if f.Name() == "2" && to != e.said.Name() {
			t.Errorf("the heir's stderr is %s", to)
		}
	}
	if len(files) > 20 {
		t.Errorf("the heir has %d open files: what nobody took is not closed", len(files))
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", heir))
	testkit.Check(t, err)
	if !bytes.Contains(env, []byte(envHeir+"=3\x00")) {
		t.Error("the heir was started without its mark")
	}
	e.life.Close()
	e.life = nil
	wait(t, "the heir ends", func() bool { return children(t) == 0 })
}

// Whatever is wrong with an heir, the error tells it in one line, the elder still answers, and nothing is left behind.
func TestUpgradeFails(t *testing.T) {
	for _, tt := range []struct{ mode, want string }{
		{"fails", "the new process ended before it was ready: --config x.yaml: line 3: no such key (exit status 2)"},
		{"refuses", "the new process ended before it was ready: no room for 4 tables"},
		{"mute", "the new process ended before it was ready: exit status 7, and it said nothing"},
		{"chatters", "the new process ended before it was ready: line 2 (exit status 1)"},
		{"crashes", "the new process ended before it was ready: panic: a bug (exit status 2)"},
		{"hangs", "the new process was not ready within 500ms and was killed; its last line: waits for a lock"},
		{"babbles", `the new process was killed before it was ready: it says "done" instead of "ready"`},
		{"dies", "the new process ended before it was serving: out of memory (exit status 1)"},
	} {
		t.Run(tt.mode, func(t *testing.T) {
			e := newElder(t)
			cfg := Config{Command: again(t, tt.mode), Stderr: e.said}
			if tt.mode == "hangs" {
				cfg.Timeout = 500 * time.Millisecond
			}
			u := NewUpgrader(cfg)
			before := descriptors(t)
			err := u.Upgrade(t.Context(), e.steps())
			if err == nil || err.Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
			if pid := e.ask(); pid != os.Getpid() {
				t.Errorf("%d answers", pid)
			}
			if n := children(t); n != 0 {
				t.Errorf("%d processes are left", n)
			}
			wait(t, "no descriptor is left", func() bool { return descriptors(t) <= before+1 }) // the elder's end of life
			select {
			case <-u.Replaced():
				t.Error("it was replaced all the same")
			case <-e.letGo:
				t.Error("the elder let go")
			default:
			}
			// The next one is as good as ever.
			u.cfg.Command = again(t, "good")
			if err := u.Upgrade(t.Context(), e.steps()); err != nil {
				t.Error(err)
			}
			e.life.Close()
			e.life = nil
			wait(t, "the heir ends", func() bool { return children(t) == 0 })
		})
	}
}

// What cannot even be started changes nothing either; a step of the elder's that fails neither.
func TestUpgradeCannotBegin(t *testing.T) {
	e := newElder(t)
	t.Setenv(envMode, "good")
	for _, tt := range []struct {
		command Command
		give    func(*Parcel) error
		want    string
	}{
		{Command{Path: "/nonexistent/homing", Args: []string{"homing"}}, nil, "no such file"},
		{Command{Path: t.TempDir(), Args: []string{"homing"}}, nil, "permission denied"},
		{again(t, "good"), func(*Parcel) error { return errors.New("no more descriptors") }, "no more descriptors"},
		{Command{Path: "/bin/true", Args: []string{"true"}}, nil, "exit status 0, and it said nothing"},
	} {
		steps := e.steps()
		if tt.give != nil {
			steps.Give = tt.give
		}
		err := NewUpgrader(Config{Command: tt.command, Stderr: e.said}).Upgrade(t.Context(), steps)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v, want %s", err, tt.want)
		}
		if n := children(t); n != 0 {
			t.Errorf("%d processes are left", n)
		}
	}
	if pid := e.ask(); pid != os.Getpid() {
		t.Errorf("%d answers", pid)
	}
}

// An upgrade while one runs is refused; one that is broken off leaves no heir.
func TestUpgradeIsBrokenOff(t *testing.T) {
	for _, mode := range []string{"hangs", "stops"} {
		e := newElder(t)
		u := NewUpgrader(Config{Command: again(t, mode), Stderr: e.said})
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() { failed <- u.Upgrade(ctx, e.steps()) }()
		wait(t, "it runs", func() bool { return children(t) == 1 })
		if err := u.Upgrade(t.Context(), e.steps()); !errors.Is(err, ErrBusy) {
			t.Errorf("a second one at once: %v", err)
		}
		cancel()
		if err := <-failed; err == nil || !strings.Contains(err.Error(), "broken off") {
			t.Errorf("%s: %v", mode, err)
		}
		if n := children(t); n != 0 {
			t.Errorf("%d processes are left", n)
		}
		if pid := e.ask(); pid != os.Getpid() {
			t.Errorf("%d answers", pid)
		}
	}
}

// An heir that ends once it serves is told of, and is no reason to go on: its end is that of any process that serves.
func TestUpgradeHeirLeaves(t *testing.T) {
	e := newElder(t)
	var mu sync.Mutex
	var log bytes.Buffer
	u := NewUpgrader(Config{Command: again(t, "leaves"), Stderr: e.said, Log: slog.New(slog.NewTextHandler(&guarded{&mu, &log}, nil))})
	testkit.Check(t, u.Upgrade(t.Context(), e.steps()))
	<-u.Replaced()
	wait(t, "its end is logged", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(log.String(), "the process that took over has ended") && strings.Contains(log.String(), "does not say")
	})
}

type guarded struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (g *guarded) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.b.Write(p)
}

// An elder that dies while its heir waits takes it along before it serves, and leaves it alone afterwards.
func TestElderDies(t *testing.T) {
	for _, tt := range []struct {
		until kind
		lives bool
	}{
		{kindHello, false},
		{kindParcel, false},
		{kindReady, false},
		{kindServing, true},
	} {
		e := newElder(t)
		command := again(t, "orphan")
		h, err := command.start(environment(os.Environ()), e.said, e.said)
		testkit.Check(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		hello := &message{Kind: kindHello, Protocol: protocol, PID: os.Getpid()}
		switch tt.until {
		case kindHello:
			testkit.Check(t, h.channel.send(ctx, hello))
		case kindParcel, kindReady, kindServing:
			var p Parcel
			testkit.Check(t, e.steps().Give(&p))
			testkit.Check(t, h.channel.send(ctx, hello))
			testkit.Check(t, h.channel.sendParcel(ctx, &p))
			p.Close()
			if tt.until != kindParcel {
				_, err := h.expect(ctx, kindReady)
				testkit.Check(t, err)
			}
			if tt.until == kindServing {
				testkit.Check(t, h.ask(ctx, kindServe, kindServing))
			}
		}
		cancel()
		h.channel.close()
		e.listener.Close()
		if tt.lives {
			if pid := e.ask(); pid != h.pid() {
				t.Errorf("%d answers, the heir is %d", pid, h.pid())
			}
			wait(t, "it says so, where it belongs", func() bool { return strings.Contains(e.output(), "the older process ended") })
			e.life.Close()
			e.life = nil
		}
		<-h.ended
		if !tt.lives && h.state == "exit status 0" {
			t.Errorf("%s: the heir is content", tt.until)
		}
	}
}

// An heir of another version says so, and is refused in one line.
func TestOtherProtocol(t *testing.T) {
	e := newElder(t)
	command := again(t, "good")
	h, err := command.start(environment(os.Environ()), e.said, e.said)
	testkit.Check(t, err)
	testkit.Check(t, h.channel.send(t.Context(), &message{Kind: kindHello, Protocol: protocol + 1}))
	_, err = h.expect(t.Context(), kindReady)
	err = h.fail(t.Context(), err, "ready", time.Second)
	if want := "it hands over in version 2, this program takes 1: restart instead"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v", err)
	}
}

// A descriptor that is handed over stays as it is for the elder: not one that blocks.
func TestHandOverKeepsSocketsNonBlocking(t *testing.T) {
	e := newElder(t)
	u := NewUpgrader(Config{Command: again(t, "good"), Stderr: e.said})
	raw, err := e.listener.SyscallConn()
	testkit.Check(t, err)
	steps := e.steps()
	letGo := steps.LetGo
	steps.LetGo = func(heir Heir, p *Parcel) {
		testkit.Check(t, raw.Control(func(fd uintptr) {
			flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0)
			if errno != 0 || flags&syscall.O_NONBLOCK == 0 {
				t.Errorf("flags %#x, %v: every accept of the elder would block its thread", flags, errno)
			}
		}))
		letGo(heir, p)
	}
	testkit.Check(t, u.Upgrade(t.Context(), steps))
	e.life.Close()
	e.life = nil
	wait(t, "the heir ends", func() bool { return children(t) == 0 })
}

func wait(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// An heir that is systemd's child is waited for by its pidfd, and where there are none until it is gone.
func TestWaitForSibling(t *testing.T) {
	for _, pidfd := range []bool{true, false} {
		life, path := -1, filepath.Join(t.TempDir(), "go")
		cmd := exec.Command("/bin/sh", "-c", `until [ -e "$0" ]; do sleep 0.01; done`, path)
		if pidfd {
			cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &life}
		}
		testkit.Check(t, cmd.Start())
		go func() { _ = cmd.Wait() }() // as systemd does
		h := &heir{cmd: cmd, ended: make(chan struct{})}
		go h.waitForSibling(life)
		select {
		case <-h.ended:
			t.Errorf("pidfd %t: it has not ended", pidfd)
		case <-time.After(2 * siblingLook):
		}
		testkit.Check(t, os.WriteFile(path, nil, 0o600))
		select {
		case <-h.ended:
		case <-time.After(20 * time.Second):
			t.Errorf("pidfd %t: it has ended, and nobody notices", pidfd)
		}
	}
}

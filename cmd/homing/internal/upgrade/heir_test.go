//go:build linux

package upgrade

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"homing/bench/testkit"
)

// envMode makes the test binary an heir; its value says how it behaves.
const envMode = "HOMING_TEST_HEIR"

func TestMain(m *testing.M) {
	if mode := os.Getenv(envMode); mode != "" {
		os.Exit(heirMain(mode))
	}
	os.Exit(m.Run())
}

// heirMain is an heir in which nothing happens but the hand-over: it answers each conn with its PID, and ends when
// "life" does.
func heirMain(mode string) int {
	switch mode {
	case "fails":
		fmt.Fprintln(os.Stderr, "level=INFO msg=begins")
		fmt.Fprintln(os.Stderr, "homing: --config x.yaml: line 3: no such key")
		fmt.Fprintln(os.Stderr, "homing: a second line")
		return 2
	case "mute":
		return 7
	case "chatters":
		for i := range 3 {
			fmt.Fprintln(os.Stderr, "line", i)
		}
		return 1
	case "crashes":
		panic("a bug")
	case "hangs":
		fmt.Fprintln(os.Stderr, "waits for a lock")
		time.Sleep(time.Hour)
	}
	e, err := Import()
	if err != nil {
		fmt.Fprintln(os.Stderr, "homing:", err)
		return 2
	}
	if mode == "activated" {
		fmt.Println("at first", e.Unused())
		for _, fd := range e.Sockets([]string{os.Getenv("HOMING_TEST_ADDR")})[1].FDs {
			s, err := inspect("", fd)
			fmt.Printf("given %s, %d left, %v\n", s.addr, len(e.Unused()), err)
		}
		return 0
	}
	if mode == "refuses" {
		err := e.Fail(fmt.Errorf("no room for %d tables", 4))
		fmt.Fprintln(os.Stderr, "homing:", err)
		return 2
	}
	if mode == "sticks" {
		fmt.Fprintln(os.Stderr, "has the sockets")
		time.Sleep(time.Hour)
	}
	life := os.NewFile(uintptr(e.Take("life")[0]), "life")
	listener := e.Listener("port", os.Getenv("HOMING_TEST_ADDR"))
	var letter string
	if found, err := e.Read("greeting", &letter); !found || err != nil || letter != "good day" {
		return 3
	}
	if mode == "babbles" {
		_ = e.channel.send(context.Background(), &message{Kind: kindDone})
		time.Sleep(time.Hour)
	}
	var answer Parcel
	if err := answer.Write("answer", 42); err != nil {
		return 5
	}
	if err := e.Ready(context.Background(), &answer); err != nil {
		fmt.Fprintln(os.Stderr, "homing:", err)
		return 2
	}
	switch mode {
	case "dies":
		fmt.Fprintln(os.Stderr, "homing: out of memory")
		return 1
	case "stops":
		time.Sleep(time.Hour)
	}
	go testkit.Accept(listener, func(conn net.Conn) { fmt.Fprintln(conn, os.Getpid()) })
	rest := e.Serving(context.Background(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if mode == "leaves" {
		return 1
	}
	var last string
	if found, err := rest.Read("farewell", &last); (!found || err != nil) && mode != "orphan" {
		return 4
	}
	e.Done()
	fmt.Fprintln(os.Stderr, "heir", last)
	_, _ = io.Copy(io.Discard, life)
	return 0
}

// again is the command that starts this test binary as an heir.
func again(t *testing.T, mode string) Command {
	t.Helper()
	t.Setenv(envMode, mode)
	return Command{Path: "/proc/self/exe", Args: []string{"heir", mode}, Dir: t.TempDir()}
}

// elder is the older process's part: a listener, whose conns it answers with its PID too.
type elder struct {
	*testing.T
	listener *net.TCPListener
	life     *os.File // whose end is the heir's
	letGo    chan int // the heir's PID, when it is told
	said     *os.File // what heirs say
}

func newElder(t *testing.T) *elder {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Check(t, err)
	t.Setenv("HOMING_TEST_ADDR", listener.Addr().String())
	said, err := os.CreateTemp(t.TempDir(), "said")
	testkit.Check(t, err)
	e := &elder{T: t, listener: listener.(*net.TCPListener), letGo: make(chan int, 1), said: said}
	go testkit.Accept(listener, func(conn net.Conn) { fmt.Fprintln(conn, os.Getpid()) })
	t.Cleanup(func() {
		listener.Close()
		if e.life != nil {
			e.life.Close()
		}
		said.Close()
	})
	return e
}

func (e *elder) steps() Steps {
	return Steps{
		Give: func(p *Parcel) error {
			read, write, err := os.Pipe()
			if err != nil {
				return err
			}
			if e.life != nil {
				e.life.Close()
			}
			e.life = write
			defer read.Close()
			for range 600 { // more than one message takes; nobody wants them
				if err := p.AddSocket("ballast", e.listener); err != nil {
					return err
				}
			}
			if err := p.AddSocket("life", read); err != nil {
				return err
			}
			if err := p.AddSocket("port", e.listener); err != nil {
				return err
			}
			return p.Write("greeting", "good day")
		},
		LetGo: func(heir Heir, p *Parcel) {
			var answer int
			if found, err := heir.Answer.Read("answer", &answer); !found || err != nil || answer != 42 {
				e.Errorf("the heir's answer: %d, %v, %v", answer, found, err)
			}
			e.letGo <- heir.PID
			e.listener.Close()
			testkit.Check(e.T, p.Write("farewell", "farewell"))
		},
	}
}

// ask is the PID of who answers.
func (e *elder) ask() int {
	e.Helper()
	conn, err := net.Dial("tcp", os.Getenv("HOMING_TEST_ADDR"))
	testkit.Check(e.T, err)
	defer conn.Close()
	testkit.Check(e.T, conn.SetDeadline(time.Now().Add(10*time.Second)))
	var pid int
	if _, err := fmt.Fscanln(conn, &pid); err != nil {
		e.Fatal(err)
	}
	return pid
}

func (e *elder) output() string {
	e.Helper()
	text, err := os.ReadFile(e.said.Name())
	testkit.Check(e.T, err)
	return string(text)
}

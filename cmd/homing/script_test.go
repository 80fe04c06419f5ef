//go:build linux

package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"homing/bench/testkit"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata/script")

// patience bounds every wait of the scripts; nothing that works comes near it.
const patience = testkit.Patience

// TestScript runs testdata/script/*.txtar against the real command, each in a process of its own.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Values[connsKey{}] = &heldConns{open: make(map[string]net.Conn)}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fails":   scriptFails,
			"echo":    scriptEcho,
			"occupy":  scriptOccupy,
			"ready":   scriptReady,
			"dial":    scriptDial,
			"say":     scriptSay,
			"hangup":  scriptHangup,
			"cut":     scriptCut,
			"get":     scriptGet,
			"signal":  scriptSignal,
			"logged":  scriptLogged,
			"refused": scriptRefused,
			"denied":  scriptDenied,
			"gossip":  scriptGossip,
			"rotate":  scriptRotate,
		},
	})
}

type connsKey struct{}

// heldConns are the client conns that a script has open, by name.
type heldConns struct{ open map[string]net.Conn }

func held(ts *testscript.TestScript) map[string]net.Conn {
	return ts.Value(connsKey{}).(*heldConns).open
}

// fails CODE ARGS: `homing ARGS` ends with the exit code, and with one line on stderr, which `stderr` can look at.
func scriptFails(ts *testscript.TestScript, _ bool, args []string) {
	cmd := exec.Command("homing", args[1:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), append(os.Environ(), "HOMING_ADMIN="+ts.Getenv("HOMING_ADMIN"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if want := args[0]; !ok || strconv.Itoa(exit.ExitCode()) != want {
		ts.Fatalf("homing %s: %v, want exit code %s\n%s%s", strings.Join(args[1:], " "), err, want, &stdout, &stderr)
	}
	text := stderr.String()
	if stdout.Len() > 0 || !strings.HasPrefix(text, "homing: ") || strings.Count(text, "\n") != 1 {
		ts.Fatalf("not exactly one line `homing: ...` on stderr:\n%s%s", &stdout, text)
	}
	ts.Check(second(io.WriteString(ts.Stderr(), text)))
}

// echo VAR: a backend that sends back what it gets, its address in VAR.
func scriptEcho(ts *testscript.TestScript, _ bool, args []string) {
	// It ends with the conn, however that ends, at the latest with homing.
	go testkit.Accept(listenFor(ts, args[0]), func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
}

// occupy VAR: an address that is in use, in VAR.
func scriptOccupy(ts *testscript.TestScript, _ bool, args []string) { listenFor(ts, args[0]) }

func listenFor(ts *testscript.TestScript, name string) net.Listener {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { listener.Close() })
	ts.Setenv(name, listener.Addr().String())
	return listener
}

// ready LOG: waits until a homing that logs to the file is ready; its addresses are in LISTEN and ADMIN.
func scriptReady(ts *testscript.TestScript, _ bool, args []string) {
	text := waitLogged(ts, args[0], regexp.MustCompile(`msg"?[=:]"?ready`))
	for name, pattern := range map[string]string{
		"LISTEN": `msg"?[=:]"?listener"?[ ,]"?addr"?[=:]"?([^\s"]+)`,
		"ADMIN":  `msg"?[=:]"?admin"?[ ,]"?addr"?[=:]"?([^\s"]+)`,
	} {
		if match := regexp.MustCompile(pattern).FindStringSubmatch(text); match != nil {
			ts.Setenv(name, match[1])
		}
	}
}

// logged LOG PATTERN: waits until the file has a line that matches.
func scriptLogged(ts *testscript.TestScript, neg bool, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[1])
	if !neg {
		waitLogged(ts, args[0], pattern)
		return
	}
	if text := ts.ReadFile(args[0]); pattern.MatchString(text) {
		ts.Fatalf("%s has %q:\n%s", args[0], args[1], text)
	}
}

func waitLogged(ts *testscript.TestScript, file string, pattern *regexp.Regexp) string {
	path := ts.MkAbs(file)
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(path)
		if err == nil && pattern.Match(text) {
			return string(text)
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s never had %q:\n%s", file, pattern, text)
		}
	}
}

// dial NAME ADDR: opens a conn that later commands know by its name.
func scriptDial(ts *testscript.TestScript, _ bool, args []string) {
	conn, err := net.DialTimeout("tcp", args[1], patience)
	ts.Check(err)
	ts.Defer(func() { conn.Close() })
	held(ts)[args[0]] = conn
}

// say NAME TEXT: sends the text and wants it back.
func scriptSay(ts *testscript.TestScript, _ bool, args []string) {
	conn, text := held(ts)[args[0]], args[1]+"\n"
	ts.Check(conn.SetDeadline(time.Now().Add(patience)))
	ts.Check(second(io.WriteString(conn, text)))
	got := make([]byte, len(text))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != text {
		ts.Fatalf("said %q, got back %q: %v", text, got, err)
	}
}

// hangup NAME: closes the conn in order.
func scriptHangup(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(held(ts)[args[0]].Close())
}

// cut NAME: the other side ends the conn, in order or not.
func scriptCut(ts *testscript.TestScript, _ bool, args []string) {
	conn := held(ts)[args[0]]
	ts.Check(conn.SetDeadline(time.Now().Add(patience)))
	n, err := conn.Read(make([]byte, 1))
	if n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		ts.Fatalf("the conn was not cut: %d bytes, %v", n, err)
	}
}

// refused ADDR: nothing accepts there, at the latest soon.
func scriptRefused(ts *testscript.TestScript, _ bool, args []string) {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", args[0], patience)
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(deadline) {
			ts.Fatalf("%s still accepts", args[0])
		}
	}
}

// denied ADDR: a conn is reset there, at once or a moment later.
func scriptDenied(ts *testscript.TestScript, _ bool, args []string) {
	conn, err := net.DialTimeout("tcp", args[0], patience)
	if err == nil {
		defer conn.Close()
		ts.Check(conn.SetDeadline(time.Now().Add(patience)))
		_, err = conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		ts.Fatalf("%s lets a conn in: %v", args[0], err)
	}
}

// get URL: prints status and body.
func scriptGet(ts *testscript.TestScript, _ bool, args []string) {
	response, err := http.Get(args[0])
	ts.Check(err)
	defer response.Body.Close()
	fmt.Fprintln(ts.Stdout(), response.Status)
	ts.Check(second(io.Copy(ts.Stdout(), response.Body)))
}

// signal TERM|INT [agent|node]: to every command in the background, or to the one of that kind.
func scriptSignal(ts *testscript.TestScript, _ bool, args []string) {
	sig := map[string]os.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP}[args[0]]
	for _, cmd := range ts.BackgroundCmds() {
		if len(args) == 1 || strings.Contains(strings.Join(cmd.Args, " "), map[string]string{"agent": "homing agent", "node": "homing run"}[args[1]]) {
			ts.Check(cmd.Process.Signal(sig))
		}
	}
}

// gossip LOG: the address that a node gossips at, in GOSSIP.
func scriptGossip(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile(`"msg":"cluster","addr":"([^"]+)"`)
	ts.Setenv("GOSSIP", pattern.FindStringSubmatch(waitLogged(ts, args[0], pattern))[1])
}

// rotate add|use|remove KEYFILE NODEKEYFILE ADMIN: a key command, whose key stands in a file.
func scriptRotate(ts *testscript.TestScript, neg bool, args []string) {
	key := strings.TrimSpace(ts.ReadFile(args[1]))
	err := ts.Exec("homing", "cluster", "key", args[0], key, "--node-key-file", args[2], "--admin", args[3])
	if (err != nil) != neg {
		ts.Fatalf("rotate %s: %v", args[0], err)
	}
}

func second[T any](_ T, err error) error { return err }

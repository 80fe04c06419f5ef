//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"homing/bench"
	"homing/bench/proc"
	"homing/cmd/internal/usage"
)

// call runs a command line in this process.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = command(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestWrongCommandLines(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"resum", `unknown command "resum"`},
		{"resume", "resume needs a target, HOST:PORT"},
		{"resume --rate x 127.0.0.1:1", `--rate "x"`},
		{"resume --clients 0x 127.0.0.1:1", `--clients "0x"`},
		{"resume --nope 127.0.0.1:1", "unknown flag: --nope"},
		{"resume --mix quic 127.0.0.1:1", `--mix: "quic" is none of full12, full13, id, ticket, psk, 0rtt`},
		{"resume --shape round 127.0.0.1:1", `--shape: "round" is none of plain`},
		{"resume --response 5XB 127.0.0.1:1", `--response "5XB": not a size`},
		{"resume --ca /nonexistent 127.0.0.1:1", "--ca: open /nonexistent: no such file"},
		{"resume --watch me 127.0.0.1:1", `--watch "me": write it as backend:NAME=PID`},
		{"resume --verify never 127.0.0.1:1", `verify: "never" is none of once, always, off`},
		{"resume --sources roam 192.0.2.1:443", "cannot be reached"},
		{"resume --duration 48h 127.0.0.1:1", "duration: 48h0m0s is not between"},
		{"resume --control 127.0.0.1:1", "control address 127.0.0.1:1"},
		{"resume 127.0.0.1", `target "127.0.0.1": not HOST:PORT`},
		{"resume 127.0.0.1:1", "cannot connect to 127.0.0.1:1: connection refused: nothing listens there"},
		{"churn 127.0.0.1:1", "churn needs to know what goes and comes"},
		{"failover 127.0.0.1:1", "failover needs to know which node dies"},
		{"failover --kill 1 127.0.0.1:1", "--kill 1: not the ID of a process to kill"},
		{"churn --disturb 5s=gone:a 127.0.0.1:1", `--disturb "5s=gone:a": write it as TIME=down:WHO`},
		{"churn --disturb 5s=down:a 127.0.0.1:1", "needs somebody to carry it out"},
		{"serve --backends 0", "0 backends: give 1 to 100"},
		{"serve --backends 2 --nginx 2", "--backends and --nginx: give one of them"},
		{"serve --early-data", "--early-data needs --nginx"},
		{"serve --key dsa --listen 127.0.0.1:20001", `key "dsa" is neither rsa nor ecdsa`},
		{"serve --listen 8443", `--listen "8443": not HOST:PORT`},
		{"serve --listen 127.0.0.1:65535", "no room for 3 ports from 65535 on"},
		{"backend --cert /nonexistent", "--cert /nonexistent"},
	} {
		code, stdout, stderr := call(t, strings.Fields(c.args)...)
		if code != usage.ExitUsage || !strings.HasPrefix(stderr, "homing-bench: ") || !strings.Contains(stderr, c.want) ||
			strings.Count(stderr, "\n") != 1 || stdout != "" {
			t.Errorf("%s: code %d, %q, %q, want %q", c.args, code, stdout, stderr, c.want)
		}
	}
}

func TestHelpNamesEveryScenario(t *testing.T) {
	code, stdout, _ := call(t, "-h")
	if code != usage.ExitOK {
		t.Errorf("code %d", code)
	}
	for _, s := range bench.Scenarios() {
		if !strings.Contains(stdout, "\n  "+string(s)+" ") {
			t.Errorf("no word of %s", s)
		}
		if code, stdout, stderr := call(t, string(s), "-h"); code != usage.ExitOK || !strings.Contains(stdout, "--rate") {
			t.Errorf("%s -h: %d, %q", s, code, stderr)
		}
	}
	if code, stdout, _ := call(t, "version"); code != usage.ExitOK || !strings.HasPrefix(stdout, "homing-bench unstamped go") {
		t.Errorf("version: %d, %q", code, stdout)
	}
}

// Each command line that help shows is one that the command takes.
func TestExamplesAreCommandLines(t *testing.T) {
	seen := 0
	for _, cmd := range newRootCommand().Commands() {
		for line := range strings.Lines(cmd.Example) {
			line, _, _ = strings.Cut(line, " | ")
			words := strings.Fields(strings.TrimSuffix(strings.TrimSpace(line), "&"))
			if len(words) < 2 || words[0] != "homing-bench" {
				t.Errorf("%s: %q is not a command line", cmd.Name(), line)
				continue
			}
			seen++
			root := newRootCommand()
			found, args, err := root.Find(words[1:])
			if err != nil || found == root {
				t.Errorf("%s: %q: %v", cmd.Name(), line, err)
				continue
			}
			if err := found.ParseFlags(args); err != nil {
				t.Errorf("%s: %q: %v", cmd.Name(), line, err)
			}
			if found.Args != nil {
				if err := found.Args(found, found.Flags().Args()); err != nil {
					t.Errorf("%s: %q: %v", cmd.Name(), line, err)
				}
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d examples", seen)
	}
}

// Each flag that the README gives to a command here is one.
func TestReadmeFlags(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, m := range regexp.MustCompile("(?m)^ *homing-bench (.*)$|`make (demo) DEMO_FLAGS=([^`]*)`").FindAllStringSubmatch(string(text), -1) {
		words := strings.Fields(strings.Join(m[1:], " "))
		found, args, err := newRootCommand().Find(words)
		if err == nil {
			err = found.ParseFlags(args)
		}
		if err != nil {
			t.Errorf("%q: %v", words, err)
		}
		seen++
	}
	if seen < 2 {
		t.Errorf("only %d command lines", seen)
	}
}

func TestSizes(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "512": 512, "1KiB": 1024, "64MiB": 64 << 20, "2GiB": 2 << 30} {
		var n int64
		v := sizeValue{&n}
		if err := v.Set(in); err != nil || n != want || v.String() != in {
			t.Errorf("%s: %d, %v, written %s", in, n, err, v.String())
		}
	}
	for _, bad := range []string{"", "-1", "x", "1KB", "9999999999GiB"} {
		n := int64(7)
		if err := (&sizeValue{&n}).Set(bad); err == nil || n != 7 {
			t.Errorf("%q was taken for %d", bad, n)
		}
	}
}

func TestDisturbancesInTurn(t *testing.T) {
	got := inTurn([]string{"a", "b"}, 8*time.Second)
	want := []bench.Disturbance{
		{At: time.Second, Down: true, Who: "a"},
		{At: 3 * time.Second, Who: "a"},
		{At: 5 * time.Second, Down: true, Who: "b"},
		{At: 7 * time.Second, Who: "b"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestShellControl(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "mark")
	c := shellControl{down: `echo "$WHO" > ` + mark, up: "echo no; exit 3"}
	if err := c.Down(t.Context(), "node1"); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(mark); err != nil || string(b) != "node1\n" {
		t.Errorf("%q, %v", b, err)
	}
	if err := c.Up(t.Context(), "node1"); err == nil || !strings.Contains(err.Error(), "exit status 3: no") {
		t.Errorf("error %v", err)
	}
	sleeper := exec.CommandContext(t.Context(), "sleep", "60")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	k := killer{c}
	if err := k.Down(t.Context(), "process "+itoa(sleeper.Process.Pid)); err != nil {
		t.Error(err)
	}
	_ = sleeper.Wait()
	if status, ok := sleeper.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Errorf("it ended by %v", sleeper.ProcessState)
	}
	if err := k.Up(t.Context(), "node1"); err == nil {
		t.Error("what the other control cannot do succeeded")
	}
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// build builds the command.
func build(t *testing.T) string {
	t.Helper()
	if os.Getenv("HOMING_INTEGRATION") != "1" {
		t.Skip("starts real servers: make integration runs it")
	}
	self := filepath.Join(t.TempDir(), "homing-bench")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", self, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return self
}

// From serve to the result, as a user would: backends, a run against them, one that is cut short by Ctrl-C, one in which
// backends come and go.
func TestIntegrationServeAndRun(t *testing.T) {
	self := build(t)
	for _, backends := range []string{"--nginx", "--backends"} {
		addrs, err := proc.FreeAddrs(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		control, ca := addrs[0], filepath.Join(t.TempDir(), "ca.pem")
		serve, err := proc.Start(t.Context(), proc.Command{
			Path: self, Ready: []string{control},
			Args: []string{"serve", backends, "2", "--listen", listenAddr(t), "--control", control, "--ca", ca, "--key", "ecdsa"},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(serve.Stop)
		short := []string{"--control", control, "--clients", "30", "--rate", "150", "--warm-up", "500ms", "--duration", "1s"}
		path := filepath.Join(t.TempDir(), "result.json")
		out, err := exec.CommandContext(t.Context(), self, append([]string{"resume", "--json", path}, short...)...).Output()
		if err != nil || !strings.Contains(string(out), "backend2") {
			t.Errorf("%v\n%s", err, out)
		}
		var res bench.Result
		if b, err := os.ReadFile(path); err != nil || json.Unmarshal(b, &res) != nil {
			t.Fatalf("%v: %.200s", err, b)
		}
		for i := range res.Groups {
			if g := &res.Groups[i]; g.Accepted != g.Attempts || g.Done == 0 || g.Latency.Answer.Count() != g.Done {
				t.Errorf("%s: %+v", g.Name, g.Tally)
			}
		}
		if len(res.Groups) != 3 || len(res.Watched) != 2 || res.Watched[1].CPU <= 0 || res.Host.Version == "" || res.Plan.Roots != "" {
			t.Errorf("%+v", res)
		}
		if out, err := exec.CommandContext(t.Context(), self, append([]string{"churn", "-q"}, short...)...).Output(); err != nil ||
			!strings.Contains(string(out), "backend1 down") || !strings.Contains(string(out), "backend2 up") {
			t.Errorf("%v\n%s", err, out)
		}
		interrupted(t, self, append(short, "--duration", "10m"))
		serve.Stop()
	}
}

// listenAddr is an address with room for another port behind it.
func listenAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addrs, err := proc.FreeAddrs(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if list, err := countUp(addrs[0], 2); err == nil && free(list[1]) {
			return addrs[0]
		}
	}
	t.Fatal("no two free ports side by side")
	return ""
}

func free(addr string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return exec.CommandContext(ctx, "sh", "-c", "! ss -Hltn | grep -q '"+addr+" '").Run() == nil
}

// interrupted has a run cut short, which has to say so and print what it saw.
func interrupted(t *testing.T, self string, args []string) {
	t.Helper()
	p, err := proc.Start(t.Context(), proc.Command{Path: self, Args: append([]string{"resume"}, args...)})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := proc.Until(ctx, func() (bool, error) { return strings.Contains(p.Output(), "measuring"), nil }); err != nil {
		t.Fatalf("%v: %s", err, p.Output())
	}
	if err := p.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		t.Fatal("it does not end")
	}
	if out := p.Output(); !strings.Contains(out, "homing-bench: resume ended before its time: interrupted") || !strings.Contains(out, "\nticket ") {
		t.Errorf("it printed %s", out)
	}
}

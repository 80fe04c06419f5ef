//go:build linux

package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"homing/bench/compare"
	"homing/bench/proc"
	"homing/bench/report"
	"homing/cmd/internal/usage"
)

// homingBinary is the homing under test.
func homingBinary(t *testing.T) string {
	t.Helper()
	if os.Getenv("HOMING_INTEGRATION") != "1" {
		t.Skip("starts real servers: make integration runs it")
	}
	if path := os.Getenv("HOMING_BINARY"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "homing")
	if out, err := exec.Command("go", "build", "-o", path, "homing/cmd/homing").CombinedOutput(); err != nil {
		t.Fatalf("build homing: %v\n%s", err, out)
	}
	return path
}

// clean fails the test when it leaves processes or directories behind.
func clean(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		self, err := os.FindProcess(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := proc.Until(ctx, func() (bool, error) { return len(proc.Tree(self.Pid)) == 1, nil }); err != nil {
			t.Errorf("processes left behind: %v", proc.Tree(self.Pid))
		}
	})
}

// TestIntegrationCompare lets real clients through everything that is installed, for a short time, and expects of the
// answers what does not depend on the machine.
func TestIntegrationCompare(t *testing.T) {
	homing := homingBinary(t)
	clean(t)
	dir := t.TempDir()
	jsonFile, htmlFile := filepath.Join(dir, "report.json"), filepath.Join(dir, "report.html")
	code, stdout, stderr := runCommand(t, "compare", "--homing", homing, "--kind", "id,psk", "--sources", "own", "--rounds", "2", "--title", "short",
		"--duration", "500ms", "--warm-up", "400ms", "--rate", "200", "--clients", "40", "--json", jsonFile, "--html", htmlFile)
	if code != usage.ExitOK {
		t.Fatalf("exit code %d: %s\n%s", code, stderr, stdout)
	}
	t.Log(stdout)
	r, err := report.Read(jsonFile)
	if err != nil {
		t.Fatal(err)
	}
	if r.Title != "short" || r.Host.CPUs == 0 || r.Host.Kernel == "" || r.Memory == 0 || r.System == "" || len(r.Programs) != 3 || !strings.Contains(r.Backends, "nginx") {
		t.Errorf("the machine: %+v", r)
	}
	for _, key := range []string{"resume/id/own", "resume/psk/own"} {
		test := testOf(r, key)
		if test == nil || len(test.Arms) < 7 {
			t.Fatalf("%s has no seven ways: %+v", key, test)
		}
		for i := range test.Arms {
			a := &test.Arms[i]
			share, _ := a.Tally.Share()
			if a.Failed != "" || len(a.Rounds) != 2 || a.Tally.Done < 150 {
				t.Errorf("%s through %s: %s, %d conns", key, a.Key, a.Failed, a.Tally.Done)
				continue
			}
			least, most := 0.95, 1.0
			switch {
			case a.Key == "haproxy-rr" || a.Key == "nginx-rr", a.Key == "haproxy-id" && key == "resume/psk/own":
				least, most = 0.1, 0.6 // a third, and what few conns make of it
			}
			if share < least || share > most {
				t.Errorf("%s through %s: %.1f %% accepted", key, a.Key, 100*share)
			}
			if round := a.Rounds[1]; round.Backend <= 0 || round.Client <= 0 || round.Machine <= 0 || (round.Balancer > 0) == (a.Key == "direct") || (round.Memory > 0) == (a.Key == "direct") {
				t.Errorf("%s through %s: accounts %+v", key, a.Key, round)
			}
		}
	}
	for _, line := range []string{`(?m)^HAProxy session ID +[0-9.]+ %`, `(?m)^nginx hash +(100\.0|9\d\.\d) %`, `(?m)^Command: .*`} {
		if !regexp.MustCompile(line).MatchString(stdout) {
			t.Errorf("no line like %s", line)
		}
	}
	page, err := os.ReadFile(htmlFile)
	if err != nil || !bytes.HasPrefix(page, []byte("<!DOCTYPE html>")) {
		t.Errorf("the page: %v", err)
	}
	again := filepath.Join(dir, "again.html")
	if code, drawn, stderr := runCommand(t, "report", jsonFile, "--html", again); code != usage.ExitOK || drawn != stdout {
		t.Errorf("drawn again it is another text (exit code %d): %s", code, stderr)
	}
	if redrawn, err := os.ReadFile(again); err != nil || !bytes.Equal(page, redrawn) {
		t.Errorf("drawn again it is another page: %v", err)
	}
}

// TestIntegrationCompareLow has the accounts of balancers that have next to nothing to do, for a short time: of each arm
// there is a figure, and of each gate, whatever it is.
func TestIntegrationCompareLow(t *testing.T) {
	homing := homingBinary(t)
	clean(t)
	jsonFile := filepath.Join(t.TempDir(), "report.json")
	code, stdout, stderr := runCommand(t, "compare", "--homing", homing, "--scenario", "low", "--rounds", "2", "--rate", "50", "--duration", "1s",
		"--json", jsonFile)
	if code != usage.ExitOK {
		t.Fatalf("exit code %d: %s\n%s", code, stderr, stdout)
	}
	t.Log(stdout)
	r, err := report.Read(jsonFile)
	if err != nil {
		t.Fatal(err)
	}
	rest, low := testOf(r, "low/rest"), testOf(r, "low/psk/own/50")
	if rest == nil || low == nil || len(r.Tests) != 2 || len(low.Arms) != len(rest.Arms)+1 || low.Arm("direct") == nil {
		t.Fatalf("tests %+v", r.Tests)
	}
	for _, test := range []*report.Test{rest, low} {
		for i := range test.Arms {
			a := &test.Arms[i]
			if a.Failed != "" || len(a.Rounds) != 2 {
				t.Errorf("%s through %s: %s", test.Key, a.Key, a.Failed)
				continue
			}
			for _, round := range a.Rounds {
				if (round.Resident > 0) == (a.Key == "direct") || test == low && (round.Voluntary > 0) == (a.Key == "direct") {
					t.Errorf("%s through %s: accounts %+v", test.Key, a.Key, round)
				}
				if done := round.Tally.Done; test == low && (done != 50 || round.Tasks <= round.Client+round.Backend+round.Balancer) {
					t.Errorf("%s through %s: %d conns, accounts %+v", test.Key, a.Key, done, round)
				}
			}
		}
	}
	for _, line := range []string{
		`(?m)^What is asked of homing: \d+ of 14 passed`, `(?m)^at rest: resident set +[0-9.]+ MB of 20\.0 MB`,
		`(?m)^own CPU, of HAProxy's, at 50 conns/s +[0-9.]+ of 1\.[01][05]`, `(?m)^HAProxy source +[0-9,.]+ us`,
	} {
		if !regexp.MustCompile(line).MatchString(stdout) {
			t.Errorf("no line like %s", line)
		}
	}
}

// TestIntegrationCompareInterrupted ends a run in its middle: what there is until then is printed and written.
func TestIntegrationCompareInterrupted(t *testing.T) {
	homing := homingBinary(t)
	clean(t)
	jsonFile := filepath.Join(t.TempDir(), "report.json")
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	code := command(ctx, []string{
		"compare", "--homing", homing, "--through", "direct,homing", "--kind", "id", "--rounds", "1000", "--duration", "300ms", "--warm-up", "300ms", "--json", jsonFile,
	}, &stdout, &stderr)
	if code != usage.ExitFail || !strings.Contains(stderr.String(), "homing-bench: compare: interrupted, what there is until then is printed\n") {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
	if !strings.Contains(stdout.String(), "Ended before its time: interrupted\n") || !regexp.MustCompile(`(?m)^direct +100\.0 %`).Match(stdout.Bytes()) {
		t.Errorf("printed:\n%s", &stdout)
	}
	if r, err := report.Read(jsonFile); err != nil || r.Ended != "interrupted" || len(r.Tests) != 1 {
		t.Errorf("written: %v", err)
	}
}

func TestCompareRefuses(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--through", "traefik"}, `--through: "traefik" is no balancer: take direct, homing, homing-io_uring, homing-epoll, haproxy-rr, haproxy, haproxy-id, haproxy-source, nginx-rr, nginx, nginx-hash`},
		{[]string{"--scenario", "speed"}, `scenario: "speed" is none of resume, second, steady, distance, low, rate, bulk, idle, churn, failover, fragment, slow`},
		{[]string{"--kind", "psk,quic"}, `kind: "quic" is none of full12, full13, id, ticket, psk, 0rtt`},
		{[]string{"--rounds", "0x"}, `--rounds "0x": `},
		{[]string{"--rounds", "-1"}, `rounds: -1 is not between 1 and 1000`},
		{[]string{"--backends", "0"}, `--backends 0: not between 1 and 64`},
		{[]string{"--threads", "0"}, `--threads 0: not between 1 and 256`},
		{[]string{"--homing", "/nonexistent"}, `--homing /nonexistent: no such program`},
		{[]string{"--homing", "/bin/true"}, `--homing /bin/true: /bin/true version printed "": that is no homing`},
		{[]string{"--servers", "apache", "--through", "direct"}, `--servers "apache": neither nginx nor go`},
		{[]string{"--json", "/nonexistent/r.json", "--through", "direct"}, `/nonexistent/r.json cannot be written: `},
		{[]string{"--through", "direct", "extra"}, `unknown argument "extra": see homing-bench compare -h`},
	} {
		code, stdout, stderr := runCommand(t, append([]string{"compare"}, c.args...)...)
		if code != usage.ExitUsage || stdout != "" || !strings.HasPrefix(stderr, "homing-bench: "+c.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, %q\n%s", c.args, code, stderr, stdout)
		}
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestReportRefuses(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text.json")
	if err := os.WriteFile(text, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "report needs a file that homing-bench compare --json has written"},
		{[]string{"/nonexistent"}, "open /nonexistent: no such file or directory"},
		{[]string{text}, text + ": this is no report of homing-bench compare --json: "},
	} {
		code, stdout, stderr := runCommand(t, append([]string{"report"}, c.args...)...)
		if code != usage.ExitUsage || stdout != "" || !strings.HasPrefix(stderr, "homing-bench: "+c.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit code %d, %q", c.args, code, stderr)
		}
	}
}

// A file that was there stays as it was until the new one is whole.
func TestOutputsReplaceAtOnce(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "page.html")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	out := &outputs{html: path}
	if err := out.create(); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "old" {
		t.Errorf("before anything was measured: %q, %v", b, err)
	}
	out.discard()
	if b, err := os.ReadFile(path); err != nil || string(b) != "old" {
		t.Errorf("after a run without a result: %q, %v", b, err)
	}
	out = &outputs{html: path}
	if err := out.create(); err != nil {
		t.Fatal(err)
	}
	if err := out.write(&report.Report{}); err != nil {
		t.Fatal(err)
	}
	out.discard()
	if b, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(b, []byte("<!DOCTYPE html>")) {
		t.Errorf("after a run: %.20q, %v", b, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestCommandLine(t *testing.T) {
	got := commandLine([]string{"homing-bench", "--title", "it's a run", "", "a=b,c:1", "$HOME"})
	if want := `homing-bench --title 'it'\''s a run' '' a=b,c:1 '$HOME'`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestBarElsewhere(t *testing.T) {
	var out bytes.Buffer
	b := newBar(&out)
	b.show(compare.Progress{Total: 90 * time.Second, Next: time.Second})
	b.show(compare.Progress{Total: 90 * time.Second, Done: time.Second, Next: time.Second})
	b.end()
	if got := out.String(); got != "homing-bench: compare takes about 1m30s\n" {
		t.Errorf("not on a terminal: %q", got)
	}
}

func TestBarLine(t *testing.T) {
	p := compare.Progress{What: "round 2", Done: 20 * time.Second, Next: 10 * time.Second, Total: 60 * time.Second}
	for _, c := range []struct {
		elapsed time.Duration
		want    string
	}{
		{0, "[##########....................] 40s left  round 2"},
		{4 * time.Second, "[############..................] 36s left  round 2"},
		{time.Hour, "[###############...............] 30s left  round 2"}, // a round that takes its time
	} {
		if got := barLine(p, c.elapsed); got != c.want {
			t.Errorf("after %v: %q, want %q", c.elapsed, got, c.want)
		}
	}
	if got := barLine(compare.Progress{}, time.Second); got != "" {
		t.Errorf("before anything is known: %q", got)
	}
}

// Where nothing of what is asked for is there, the one line says why.
func TestCompareWithoutAnything(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("TMPDIR", t.TempDir())
	code, stdout, stderr := runCommand(t, "compare", "--through", "homing")
	if want := "homing-bench: through: there is nothing left to compare: homing is not installed: name the binary with --homing\n"; code != usage.ExitUsage || stdout != "" || stderr != want {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

// testOf returns the test of that key; nil without one.
func testOf(r *report.Report, key string) *report.Test {
	for i := range r.Tests {
		if r.Tests[i].Key == key {
			return &r.Tests[i]
		}
	}
	return nil
}

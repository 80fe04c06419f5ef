package demo

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// run runs a small demo and returns its table and its progress.
func run(t *testing.T, o Options) (table, steps string) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "progress"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o.Progress = f
	var out bytes.Buffer
	if err := Run(t.Context(), o, &out); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), string(b)
}

func TestRun(t *testing.T) {
	table, steps := run(t, Options{Clients: 6, Reconnects: 60})
	t.Log(table)
	want := "TLS 1.3 PSK through round robin\nTLS 1.2 ticket through round robin\nTLS 1.3 PSK through homing\nTLS 1.2 ticket through homing\n"
	if steps != want {
		t.Errorf("steps %q, want %q", steps, want)
	}
	for _, line := range []string{
		`TLS 1.3 PSK +round robin +60 +\d+ +\d+\.\d% +\d+\.\d\d ms +\d+\.\d\d ms`,
		`TLS 1.3 PSK +homing +60 +(5[4-9]|60) `, // two refusals for each of three keys
		`TLS 1.2 ticket +round robin +60 `,
		`TLS 1.2 ticket +homing +60 +60 +100.0%`,
	} {
		if !regexp.MustCompile(line).MatchString(table) {
			t.Errorf("no line like %q", line)
		}
	}
}

func TestIntegrationRunNginx(t *testing.T) {
	if os.Getenv("HOMING_INTEGRATION") != "1" {
		t.Skip("starts real servers: make integration runs it")
	}
	table, _ := run(t, Options{Nginx: true, Clients: 6, Reconnects: 60})
	t.Log(table)
	for _, line := range []string{
		`TLS 1.2 session ID +round robin +60 `, `TLS 1.2 session ID +homing +60 +60 +100.0%`, `TLS 1.2 ticket +homing +60 +60 +100.0%`,
	} {
		if !regexp.MustCompile(line).MatchString(table) {
			t.Errorf("no line like %q", line)
		}
	}
}

func TestRunKeepsToItsLimit(t *testing.T) {
	start := time.Now()
	table, _ := run(t, Options{Clients: 2, Reconnects: 1_000_000, Limit: 200 * time.Millisecond})
	if took := time.Since(start); took > time.Minute { // all its reconnects would take longer
		t.Errorf("a demo of 200 ms took %v", took)
	}
	if strings.Count(table, "ran out of time after") != 4 {
		t.Errorf("the table does not say that time ran out:\n%s", table)
	}
}

func TestRunRefusesNonsense(t *testing.T) {
	if err := Run(t.Context(), Options{Clients: -1}, &bytes.Buffer{}); err == nil {
		t.Error("a negative number of clients was taken")
	}
}

func TestReportSaysWhatWasLost(t *testing.T) {
	ms := []time.Duration{time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond}
	rows := []row{
		{kind: "X", balancer: roundRobin, offered: 3, accepted: 1, cpu: time.Millisecond, handshakes: ms},
		{kind: "Y", balancer: roundRobin, offered: 3, accepted: 0, handshakes: ms},
		{kind: "X", balancer: homeBound, offered: 3, accepted: 2, handshakes: ms},
		{kind: "Y", balancer: homeBound, offered: 3, accepted: 3, handshakes: ms},
	}
	var out bytes.Buffer
	if err := report(&out, &Options{Clients: 2, Reconnects: 3}, rows); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"33.3%", "1.00 ms", "2.00 ms", "X: homing lost 1 "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if got := byKind(rows); got[1].kind != "X" || got[1].balancer != homeBound {
		t.Errorf("order %+v", got)
	}
}

func TestProgressBar(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "progress"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := newProgress(f, 2)
	if p.terminal {
		t.Fatal("a file was taken for a terminal")
	}
	p.terminal = true
	p.begin("step")
	p.add()
	p.add()
	p.end()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	half := "[" + strings.Repeat("#", barWidth/2) + strings.Repeat(".", barWidth/2) + "] step"
	if !strings.Contains(string(b), half) || !strings.HasSuffix(string(b), "\r\x1b[K") {
		t.Errorf("drew %q", b)
	}
}

func TestParseSchedstat(t *testing.T) {
	if d, err := parseSchedstat("1500000 20 3\n"); err != nil || d != 1500*time.Microsecond {
		t.Errorf("%v, %v", d, err)
	}
	if _, err := parseSchedstat(""); err == nil {
		t.Error("an empty file was taken for a clock")
	}
}

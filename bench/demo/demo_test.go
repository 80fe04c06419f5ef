package demo

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"homing/bench/balancers"
	"homing/bench/farm"
)

// small runs a small demo and returns its table and its steps.
func small(t *testing.T, o Options) (table string, steps []string) {
	t.Helper()
	homing := os.Getenv("HOMING_BINARY")
	if os.Getenv("HOMING_INTEGRATION") != "1" || homing == "" {
		t.Skip("starts real servers: make integration runs it")
	}
	var err error
	if o.Kit, err = balancers.NewKit(t.Context(), balancers.Paths{Homing: homing}); err != nil {
		t.Fatal(err)
	}
	self := filepath.Join(filepath.Dir(homing), "homing-bench")
	if o.Backends, err = farm.StartBackends(t.Context(), farm.Options{Nginx: o.Nginx, Self: self}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := o.Backends.Stop(); err != nil {
			t.Error(err)
		}
	}()
	last := 0
	o.Progress = func(step string, done, total int) {
		if len(steps) == 0 || steps[len(steps)-1] != step {
			steps = append(steps, step)
		}
		if done < last || done > total {
			t.Errorf("%s: %d of %d conns after %d", step, done, total, last)
		}
		last = done
	}
	var out bytes.Buffer
	if err := Run(t.Context(), o, &out); err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	return out.String(), steps
}

func wantLines(t *testing.T, table string, patterns ...string) {
	t.Helper()
	for _, line := range patterns {
		if !regexp.MustCompile(line).MatchString(table) {
			t.Errorf("no line like %q", line)
		}
	}
}

func TestIntegrationRun(t *testing.T) {
	table, steps := small(t, Options{Clients: 6, Reconnects: 60})
	want := []string{
		"TLS 1.3 PSK through round robin", "TLS 1.2 ticket through round robin", "TLS 1.3 PSK through homing",
		"TLS 1.2 ticket through homing",
	}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %q, want %q", steps, want)
	}
	wantLines(t, table,
		`TLS 1.3 PSK +round robin +60 +\d+ +\d+\.\d% +\d+\.\d\d ms +\d+\.\d\d ms`,
		`TLS 1.3 PSK +homing +60 +(5[4-9]|60) `, // two refusals for each of three keys
		`TLS 1.2 ticket +round robin +60 `,
		`TLS 1.2 ticket +homing +60 +60 +100.0%`)
}

func TestIntegrationRunNginx(t *testing.T) {
	table, _ := small(t, Options{Nginx: true, Clients: 6, Reconnects: 60})
	wantLines(t, table, `TLS 1.2 session ID +round robin +60 `, `TLS 1.2 session ID +homing +60 +60 +100.0%`,
		`TLS 1.2 ticket +homing +60 +60 +100.0%`)
}

func TestIntegrationRunKeepsToItsLimit(t *testing.T) {
	start := time.Now()
	table, _ := small(t, Options{Clients: 2, Reconnects: 1_000_000, Limit: 200 * time.Millisecond})
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

package bench

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"homing/bench/proc"
)

// busy starts a process that uses CPU until it is killed.
func busy(t *testing.T) *proc.Process {
	t.Helper()
	p, err := proc.Start(t.Context(), proc.Command{Path: "/bin/sh", Args: []string{"-c", "while :; do :; done"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// work waits until a process has used more than so much CPU time in all, and returns how much.
func work(t *testing.T, p *proc.Process, more time.Duration) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var cpu time.Duration
	err := proc.Until(ctx, func() (_ bool, err error) {
		cpu, err = proc.CPU([]int{p.PID()})
		return cpu > more, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return cpu
}

// processes is a Teller over real ones.
type processes struct {
	down func()
	up   func() []int
}

func (p processes) Down(context.Context, string) error { p.down(); return nil }
func (p processes) Up(context.Context, string) error   { return nil }
func (p processes) Processes(_ context.Context, who string) ([]int, error) {
	if who != "backend1" {
		return nil, errors.New("there is no " + who)
	}
	return p.up(), nil
}

// What a process has used until it is killed counts, and what its successor uses from its start on; nothing before the
// account was opened does.
func TestAccountsFollowWhatIsKilledAndStarted(t *testing.T) {
	first, other := busy(t), busy(t)
	before := work(t, first, 60*time.Millisecond)
	var until time.Duration
	var second *proc.Process
	r := &run{shared: shared{plan: &Plan{
		Watch: []Watched{{Role: "backend", Name: "backend1", PIDs: []int{first.PID()}}, {Role: "backend", Name: "other", PIDs: []int{other.PID()}}},
		Control: processes{
			down: func() { until = work(t, first, 0); first.Kill() },
			up:   func() []int { second = busy(t); return []int{second.PID()} },
		},
	}}}
	r.use = newUsing(r.plan)
	if err := r.use.open(); err != nil {
		t.Fatal(err)
	}
	opened := work(t, first, 0)
	atLeast := work(t, first, opened+50*time.Millisecond) - opened
	for _, d := range []Disturbance{{Down: true, Who: "backend1"}, {Who: "backend1"}} {
		if err := r.carryOut(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	atLeast += work(t, second, 30*time.Millisecond)
	res := &Result{}
	if err := r.use.end(res); err != nil {
		t.Fatal(err)
	}
	used := res.Watched[0].CPU
	if atMost := until - before + work(t, second, 0); used < atLeast || used > atMost {
		t.Errorf("used %v, want %v to %v", used, atLeast, atMost)
	}
	if res.Watched[1].CPU <= 0 || len(res.Warnings) != 0 {
		t.Errorf("%+v, %q", res.Watched[1], res.Warnings)
	}
	if err := r.carryOut(t.Context(), Disturbance{Who: "backend9"}); err == nil {
		t.Error("a name that nobody knows came up")
	}
}

// A process that ends by itself has no figure, and the result says so. One that is down when the run ends has its own.
func TestAccountsOfWhatIsGone(t *testing.T) {
	alone, down := busy(t), busy(t)
	u := newUsing(&Plan{Watch: []Watched{{Name: "alone", PIDs: []int{alone.PID()}}, {Name: "down", PIDs: []int{down.PID()}}}})
	if err := u.open(); err != nil {
		t.Fatal(err)
	}
	work(t, down, 50*time.Millisecond)
	u.leave("down")
	down.Kill()
	alone.Kill()
	res := &Result{}
	if err := u.end(res); err != nil {
		t.Fatal(err)
	}
	if res.Watched[0].CPU != 0 || res.Watched[1].CPU <= 0 {
		t.Errorf("%+v", res.Watched)
	}
	if len(res.Warnings) != 1 || !strings.HasPrefix(res.Warnings[0], "alone ended during the run") {
		t.Errorf("%q", res.Warnings)
	}
	if self, err := proc.CPU([]int{os.Getpid()}); err != nil || res.Client.CPU <= 0 || res.Client.CPU > self {
		t.Errorf("this process used %v of %v, %v", res.Client.CPU, self, err)
	}
}

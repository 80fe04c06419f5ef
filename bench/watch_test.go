package bench

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"
)

// Nobody connects, and what the watched process did is known.
func TestWatch(t *testing.T) {
	p := busy(t)
	plan, err := NewPlan(Resume, "127.0.0.1:1") // where nobody listens
	if err != nil {
		t.Fatal(err)
	}
	plan.WarmUp, plan.Duration = time.Millisecond, 200*time.Millisecond
	plan.Watch = []Watched{{Role: "balancer", Name: "busy", PIDs: []int{p.PID()}}, {Role: "balancer", Name: "self", PIDs: []int{os.Getpid()}}}
	res, err := Watch(t.Context(), plan)
	if err != nil {
		t.Fatal(err)
	}
	if res.Took < plan.Duration || len(res.Watched) != 2 || len(res.Groups) != 0 {
		t.Fatalf("%+v", res)
	}
	if u := res.Watched[0]; u.CPU <= 0 || u.Resident <= 0 || res.Tasks <= 0 {
		t.Errorf("a process that spins: %+v, all tasks %v", u, res.Tasks)
	}
	if u := res.Watched[1]; u.Voluntary <= 0 {
		t.Errorf("this process slept: %+v", u)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	plan, err := NewPlan(Resume, "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	plan.WarmUp, plan.Duration = 0, time.Hour
	if _, err := Watch(ctx, plan); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
	plan.Clients = -1
	if _, err := Watch(t.Context(), plan); err == nil {
		t.Error("a plan that cannot be carried out was watched")
	}
}

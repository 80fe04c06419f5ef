//go:build linux

package service

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"homing/balancer/health"
	"homing/balancer/pool"
	"homing/cmd/homing/internal/config"
)

// TestReadiness tells it as a script: what is seen at a second, and what is said then.
func TestReadiness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := "not checked"
		var log bytes.Buffer
		r := newReadiness(func() string { return seen }, slog.New(slog.NewTextHandler(&log, nil)))
		for _, step := range []struct {
			wait time.Duration
			see  string
			want string
			why  string
		}{
			{0, "not checked", "not checked", "nothing is known at the start"},
			{time.Minute, "all are down", "all are down", "nor serves it when they are down"},
			{0, "", "", "the first time it can serve it says so at once"},
			{time.Second, "all are down", "", "it holds for a while"},
			{readyHold - time.Millisecond, "all are down", "", "until the time is over"},
			{time.Millisecond, "all are down", "all are down", "then it says so"},
			{time.Second, "", "all are down", "it holds the other way too"},
			{time.Second, "all are down again", "all are down again", "and goes on, with the last reason"},
			{time.Second, "", "all are down again", "the time begins anew"},
			{readyHold, "", "", "until it has been able for long enough"},
			{time.Second, "all are down", "", "a short time"},
			{time.Second, "", "", "that is over"},
			{readyHold - time.Second, "all are down", "", "does not add to the next"},
		} {
			time.Sleep(step.wait)
			seen = step.see
			if got := r.unready(); got != step.want {
				t.Errorf("%s: %q, want %q", step.why, got, step.want)
			}
		}
		if got := strings.Count(log.String(), "conns are "); got != 3 {
			t.Errorf("%d lines, want one for each change:\n%s", got, log.String())
		}
	})
}

// TestUnable: which pools count, and why one cannot serve.
func TestUnable(t *testing.T) {
	make3 := func(names ...string) *running {
		c := config.Default()
		c.Listeners = []config.Listener{{Address: ":443", Default: "a"}, {Address: ":444", Default: "b"}}
		var pools []*pooled
		for _, name := range names {
			p, err := pool.New(name, []pool.Spec{{Addr: "192.0.2.1:443"}, {Addr: "192.0.2.2:443"}}, pool.Options{})
			if err != nil {
				t.Fatal(err)
			}
			checks, err := health.New(p, health.Config{})
			if err != nil {
				t.Fatal(err)
			}
			c.Pools = append(c.Pools, config.Pool{Name: name})
			pools = append(pools, &pooled{Pool: p, checks: checks})
		}
		return newRunning(c, pools)
	}
	judge := func(p *pooled, up bool) {
		for _, b := range p.Snapshot().All() {
			p.Judge(b, up, "the first check failed: connection refused")
			p.SetUp(b, up, "3 checks in a row failed, the last: connection refused")
		}
	}
	now := make3("a", "b", "routed")
	expect := func(want, why string) {
		t.Helper()
		if got := now.unable(); got != want {
			t.Errorf("%s: %q, want %q", why, got, want)
		}
	}
	expect("pool a: its backends have not been checked yet", "at the start")
	judge(now.pools[0], true)
	expect("pool b: its backends have not been checked yet", "one is")
	judge(now.pools[1], true)
	expect("", "a pool that is nobody's default does not count")
	judge(now.pools[1], false)
	b := now.pools[1].Snapshot().All()[1]
	expect(fmt.Sprintf("pool b: none of its 2 backends is up; the last was %s: 3 checks in a row failed, the last: connection refused", b.Addr), "all down")
	now.config.Admin.Ready = config.ReadyAny
	expect("", "one pool is enough")
	judge(now.pools[0], false)
	if got := now.unable(); !strings.HasPrefix(got, "pool a: none of its 2 backends is up") {
		t.Errorf("all pools are down: %q", got)
	}
	now.config.Admin.Ready = config.ReadyAlways
	expect("", "as the operator chose")
	now.config.Admin.Ready = config.ReadyEach
	judge(now.pools[0], true)
	judge(now.pools[1], true)
	for _, b := range now.pools[0].Snapshot().All() {
		if err := now.pools[0].Drain(b, pool.DrainPlan{Mode: pool.DrainSoft, For: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	expect("pool a: all of its 2 backends are drained", "drained")
	now.config.Listeners = []config.Listener{{Address: ":443", Routes: []config.Route{{Names: []string{"a.example"}, Pool: "routed"}}}}
	now = newRunning(now.config, now.pools)
	if got := now.unable(); got == "" {
		t.Error("where no pool is a default, all count")
	}
}

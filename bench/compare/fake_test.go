package compare

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"homing/bench"
	"homing/bench/balancers"
	"homing/bench/report"
)

// servers are backends that exist in name alone.
type servers struct {
	n    int
	mu   sync.Mutex
	did  []string // guarded by mu
	fail map[string]bool
}

func (s *servers) Addrs() []string {
	var list []string
	for i := range s.n {
		list = append(list, fmt.Sprintf("127.0.0.1:%d", 2000+i))
	}
	return list
}

func (s *servers) Watched() []bench.Watched {
	var list []bench.Watched
	for i := range s.n {
		list = append(list, bench.Watched{Role: "backend", Name: fmt.Sprintf("backend%d", i+1), PIDs: []int{100 + i}})
	}
	return list
}

func (s *servers) Roots() string    { return "" }
func (s *servers) Describe() string { return "pretended servers" }

func (s *servers) act(what, who string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.did = append(s.did, what+" "+who)
	if s.fail[what+" "+who] {
		return errors.New(who + " does not come " + what)
	}
	return nil
}

func (s *servers) Down(_ context.Context, who string) error { return s.act("down", who) }
func (s *servers) Up(_ context.Context, who string) error   { return s.act("up", who) }

func (s *servers) Processes(_ context.Context, who string) ([]int, error) {
	return []int{len(who)}, s.act("ask", who)
}

// kit has a homing that is a shell script: it accepts nothing, and ends as the text says.
func kit(t *testing.T, text string) *balancers.Kit {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	path := filepath.Join(t.TempDir(), "homing")
	script := "#!/bin/sh\n[ \"$1\" = version ] && { echo homing v1; exit; }\n" + text + "\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	k, err := balancers.NewKit(t.Context(), balancers.Paths{Homing: path})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func pick(t *testing.T, keys ...string) []balancers.Balancer {
	t.Helper()
	list, err := balancers.Select(keys)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list, func(b balancers.Balancer) bool { return !slices.Contains(keys, b.Key) })
}

// options are for runs that take no time.
func options(t *testing.T, run func(context.Context, bench.Plan) (*bench.Result, error)) Options {
	t.Helper()
	return Options{
		Kit: kit(t, "echo 'homing: it is not made for this: take another' >&2; exit 2"), Balancers: pick(t, balancers.Direct),
		Backends: &servers{n: 3}, ServerName: "bench.example", Kinds: []bench.Kind{bench.PSK}, Sources: []bench.Sources{bench.SourceOwn},
		Run: func(ctx context.Context, p bench.Plan, _ func(bench.Progress)) (*bench.Result, error) {
			return run(ctx, p)
		},
	}
}

// good is a result in which everything went well.
func good(p bench.Plan) *bench.Result {
	r := &bench.Result{
		Plan: p, Took: time.Second, Host: bench.Host{CPUs: 2, Kernel: "6.1"},
		Groups: []bench.Group{{Tally: bench.Tally{Attempts: 10, Done: 10, Accepted: 9, Refused: 1}}},
	}
	for _, w := range p.Watch {
		r.Watched = append(r.Watched, bench.Use{Role: w.Role, Name: w.Name, CPU: time.Millisecond})
	}
	return r
}

// order says in which order arms had their rounds, by the targets of the plans.
func order(plans []bench.Plan) string {
	var list []string
	for _, p := range plans {
		list = append(list, fmt.Sprintf("%d", len(p.Targets)))
	}
	return strings.Join(list, " ")
}

func arms(t *report.Test) string {
	var list []string
	for _, a := range t.Arms {
		list = append(list, fmt.Sprintf("%s:%d", a.Key, a.Backends))
	}
	return strings.Join(list, " ")
}

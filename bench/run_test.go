package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"homing/bench/testkit"
)

func TestRunResumes(t *testing.T) {
	s := newSite(t, nil, nil)
	groups := []GroupPlan{{Kind: Ticket}, {Kind: PSK}, {Kind: Full12}, {Kind: Full13}, {Kind: Early}, {Kind: ID}}
	p := s.plan(groups...)
	p.Clients = 24
	var last Progress
	res, err := Run(t.Context(), p, func(now Progress) { last = now })
	if err != nil {
		t.Fatal(err)
	}
	checkSums(t, res)
	var begun int64
	for i := range res.Groups {
		g := &res.Groups[i]
		begun += g.Total.Attempts
		if g.Failed() != 0 || g.Attempts == 0 || g.Refused != 0 || g.Clients != 4 {
			t.Errorf("%s: %d clients, %+v", g.Name, g.Clients, g.Tally)
		}
		if b := g.Backends["a"]; b.Conns != g.Done || b.Accepted != g.Accepted {
			t.Errorf("%s: %+v of backend a, %d done", g.Name, b, g.Done)
		}
		resumes := g.Kind == Ticket || g.Kind == PSK || g.Kind == Early
		switch { // each client has a session from the warm-up on
		case resumes && (g.Accepted != g.Attempts || g.Latency.Resumed.Count() != g.Done || g.Latency.Full != nil):
			t.Errorf("%s does not always resume: %+v", g.Name, g.Tally)
		case !resumes && (g.Offered != 0 || g.Latency.Full.Count() != g.Done || g.Latency.Resumed != nil):
			t.Errorf("%s resumes: %+v", g.Name, g.Tally)
		}
		for name, h := range map[string]*Histogram{
			"Connect": g.Latency.Connect, "Answer": g.Latency.Answer, "Handshake": g.Latency.Handshake, "Service": g.Latency.Service,
		} {
			if h.Count() != g.Done {
				t.Errorf("%s: %d values in %s, %d done", g.Name, h.Count(), name, g.Done)
			}
		}
		if g.EarlyOffered != 0 {
			t.Errorf("%s sends early data to a server that takes none", g.Name)
		}
	}
	if want := int64(100); begun < want || begun > want+60 || last.Begun != begun || last.Done != begun {
		t.Errorf("%d conns were begun in 700 ms at 200 per second; progress told of %d and %d done", begun, last.Begun, last.Done)
	}
	var ticks int64
	for _, tick := range res.Timeline {
		ticks += tick.Done
	}
	if len(res.Timeline) != 5 || ticks == 0 || res.Took < p.Duration {
		t.Errorf("timeline %+v of %v", res.Timeline, res.Took)
	}
	text := strings.Join(res.Warnings, "\n")
	if !strings.Contains(text, "group id had anything to offer") || !strings.Contains(text, "group 0rtt could send early data") {
		t.Errorf("warnings %q", text)
	}
}

// A server that forgets its ticket keys makes every client's next offer a refused one, once.
func TestRunCountsRefusals(t *testing.T) {
	keys := &tls.Config{}
	s := newSite(t, func(c *tls.Config) {
		keys = c.Clone() // http.Server has its own copy
		c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return keys, nil }
	}, nil)
	for _, kind := range []Kind{Ticket, PSK} {
		keys.SetSessionTicketKeys([][32]byte{{1}})
		p := s.plan(GroupPlan{Kind: kind})
		p.Duration = time.Second
		p.Disturb = []Disturbance{{At: 300 * time.Millisecond, Down: true, Who: "keys"}}
		p.Control = actions{func(string) { keys.SetSessionTicketKeys([][32]byte{{2}}) }}
		res := mustRun(t, p)
		g := &res.Groups[0]
		if g.Refused != int64(p.Clients) || g.Offered != g.Attempts || g.Accepted != g.Offered-g.Refused || g.Latency.Full.Count() != g.Refused {
			t.Errorf("%s: %+v", kind, g.Tally)
		}
		if len(res.Disturbances) != 1 || res.Disturbances[0].Who != "keys" || res.Disturbances[0].Error != "" ||
			res.Disturbances[0].Began < 300*time.Millisecond {
			t.Errorf("%+v", res.Disturbances)
		}
	}
}

// actions is a Control that calls a function.
type actions struct{ act func(who string) }

func (a actions) Down(_ context.Context, who string) error { a.act(who); return nil }
func (a actions) Up(_ context.Context, who string) error   { return fmt.Errorf("%s stays down", who) }

// Conns that are to be even come as often in any tenth of a second as in any other.
func TestRunEven(t *testing.T) {
	s := newSite(t, nil, nil)
	p := s.plan(GroupPlan{Kind: PSK})
	p.Even, p.Loops, p.Rate = true, 2, 100
	r := &run{shared: shared{plan: &p}}
	if err := r.prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.makeLoops(); err != nil {
		t.Fatal(err)
	}
	for _, l := range r.loops {
		defer l.poller.Close()
	}
	r.pace(0, 100*time.Millisecond, p.Rate)
	for i, l := range r.loops {
		for k := range 5 {
			at, ok := l.pacer.peek()
			if want := time.Duration(2*k+i) * 10 * time.Millisecond; !ok || at != want {
				t.Errorf("conn %d of loop %d begins at %v, %v, want %v", k, i, at, ok, want)
			}
			l.pacer.take()
		}
	}
}

// Sessions are offered for their lifetime and not longer.
func TestRunLifetime(t *testing.T) {
	s := newSite(t, nil, nil)
	p := s.plan(GroupPlan{Kind: Ticket, Lifetime: time.Nanosecond})
	res := mustRun(t, p)
	if g := &res.Groups[0]; g.Total.Offered != 0 || g.Done == 0 {
		t.Errorf("%+v", g.Total)
	}
}

func TestRunKeepsConnsForSeveralRequests(t *testing.T) {
	var conns, requests atomic.Int64
	s := newSite(t, nil, nil, func(s *http.Server) {
		inner := s.Handler
		s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { requests.Add(1); inner.ServeHTTP(w, r) })
		s.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				conns.Add(1)
			}
		}
	})
	p := s.plan(GroupPlan{Kind: PSK, Requests: 3, Think: 5 * time.Millisecond, Response: 100_000})
	p.Rate = 50
	res := mustRun(t, p)
	g := &res.Groups[0]
	if g.Failed() != 0 || g.Total.Requests != 3*g.Total.Done || requests.Load() != g.Total.Requests+1 || conns.Load() != g.Total.Done+1 {
		t.Errorf("%+v; the server counts %d conns and %d requests, the one before the run included", g.Total, conns.Load(), requests.Load())
	}
	if g.Read < 300_000*g.Done || g.Read > 320_000*g.Done {
		t.Errorf("%d bytes were read on %d conns", g.Read, g.Done)
	}
}

func TestRunHandshakesAlone(t *testing.T) {
	s := newSite(t, nil, nil)
	for _, kind := range []Kind{Ticket, PSK, Full13} {
		res := mustRun(t, s.plan(GroupPlan{Kind: kind, Requests: -1}))
		g := &res.Groups[0]
		if g.Failed() != 0 || g.Requests != 0 || g.Done == 0 || kind.resumes() && g.Accepted != g.Done || g.Latency.Answer != nil {
			t.Errorf("%s: %+v", kind, g.Tally)
		}
	}
}

// With the target stalled, every conn that should have begun meanwhile is late, and says so: that is what an open loop is
// for. By the clock that starts when a conn does begin, one conn is.
func TestRunCountsFromTheIntendedStart(t *testing.T) {
	const stall, rate = 400 * time.Millisecond, 100
	var gate atomic.Bool
	s := newSite(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		if gate.CompareAndSwap(true, false) {
			time.Sleep(stall)
		}
		w.WriteHeader(http.StatusNoContent)
	})
	p := s.plan(GroupPlan{Kind: PSK})
	p.Clients, p.Rate, p.Duration = 1, rate, time.Second
	p.Disturb = []Disturbance{{At: 200 * time.Millisecond, Down: true, Who: "gate"}}
	p.Control = actions{func(string) { gate.Store(true) }}
	res := mustRun(t, p)
	l := &res.Groups[0].Latency
	late := func(h *Histogram) float64 { // conns that took more than half of the stall
		part := 1.0
		for h.Quantile(part) > stall/2 && part > 0 {
			part -= 0.001
		}
		return (1 - part) * float64(h.Count())
	}
	answer, service := late(l.Answer), late(l.Service)
	// Those of the first half of the stall, and then some, while the client catches up; a busy machine may stall it too.
	if answer < rate*stall.Seconds()/2-2 || service < 0.5 || service > answer/2 {
		t.Errorf("%.1f conns are late by Answer, %.1f by Service", answer, service)
	}
}

func TestRunClosedLoop(t *testing.T) {
	s := newSite(t, nil, nil)
	p := s.plan(GroupPlan{Kind: Ticket})
	p.Rate, p.Clients = 0, 4
	res := mustRun(t, p)
	g := &res.Groups[0]
	if g.Failed() != 0 || g.Done < 10 || g.Accepted != g.Attempts {
		t.Errorf("%+v", g.Tally)
	}
	if !strings.Contains(strings.Join(res.Warnings, "\n"), "closed loop") {
		t.Errorf("warnings %q", res.Warnings)
	}
}

// A closed loop must not ask a dead target a million times, and a run to it ends.
func TestRunEndsWhenNothingGetsThrough(t *testing.T) {
	s := newSite(t, nil, nil)
	p := s.plan(GroupPlan{Kind: Ticket})
	p.Rate, p.Clients, p.Duration = 0, 10, time.Minute
	p.Disturb = []Disturbance{{Down: true}}
	p.Control = actions{func(string) { _ = s.server.Close() }}
	start := time.Now()
	res := mustRun(t, p)
	g := &res.Groups[0]
	if !strings.Contains(res.Ended, "nothing got through") || !strings.Contains(res.Ended, "refused") || time.Since(start) > p.Duration/2 {
		t.Errorf("ended %q after %v", res.Ended, time.Since(start))
	}
	if n := g.Errors[ConnectRefused]; n == 0 || n > 10*10*10 {
		t.Errorf("%d connects were refused in %v", n, hopeless)
	}
}

func TestRunInterrupted(t *testing.T) {
	s := newSite(t, nil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	p := s.plan(GroupPlan{Kind: PSK})
	p.Duration = time.Hour
	res, err := Run(ctx, p, func(now Progress) {
		if now.Phase == phaseMeasure && now.Done > 60 {
			cancel()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	checkSums(t, res)
	if g := &res.Groups[0]; res.Ended != "interrupted" || g.Done == 0 || res.Took <= 0 || res.Took > patience {
		t.Errorf("ended %q after %v: %+v", res.Ended, res.Took, g.Tally)
	}
	// Before anything has begun it is an error.
	if _, err := Run(ctx, p, nil); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("error %v", err)
	}
}

func TestRunIdle(t *testing.T) {
	s := newSite(t, nil, nil)
	p := s.plan(GroupPlan{Kind: PSK, Hold: true})
	p.Scenario, p.Clients, p.Rate = Idle, 50, 0
	var held int64
	res, err := Run(t.Context(), p, func(now Progress) { held = max(held, now.Held) })
	if err != nil {
		t.Fatal(err)
	}
	checkSums(t, res)
	if g := &res.Groups[0]; g.Done != 50 || g.Requests != 50 || g.Offered != 0 || held != 50 || g.Latency.Answer.Quantile(0) >= p.Duration {
		t.Errorf("%d were held, the first answer in %v: %+v", held, g.Latency.Answer.Quantile(0), g.Tally)
	}
	// Conns that the target closes meanwhile are told.
	p.Disturb = []Disturbance{{Down: true}}
	p.Control = actions{func(string) { _ = s.server.Close() }}
	res = mustRun(t, p)
	if g := &res.Groups[0]; g.Done != 0 || g.Errors[Closed]+g.Errors[Reset] != 50 {
		t.Errorf("%+v", g.Tally)
	}
}

// The server's limit is known, what a busy machine leaves of it is not: a step above the limit is never kept up with, one
// below it not where the machine was too slow, which its own numbers show (TestJudge), and two such steps end the climb.
func TestRunRate(t *testing.T) {
	const most = 100 // per second
	slow := make(chan struct{}, 1)
	s := newSite(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		slow <- struct{}{} // one at a time
		time.Sleep(time.Second / most)
		<-slow
		w.WriteHeader(http.StatusNoContent)
	})
	p := s.plan(GroupPlan{Kind: PSK})
	p.Scenario, p.Clients, p.Duration = Rate, 100, 500*time.Millisecond
	p.Steps = []float64{20, 40, 150, 160, 170, 180}
	res := mustRun(t, p)
	failed := 0
	for i, step := range res.Steps {
		slow := step.Achieved < keptUp*step.Rate || step.P99 > keptUpP99.Microseconds()
		if step.Rate != p.Steps[i] || step.Sustained == slow || step.Sustained && step.Rate > most {
			t.Errorf("%+v", step)
		}
		if failed++; step.Sustained {
			failed = 0
		}
		if last := i == len(res.Steps)-1; last != (failed == failedSteps) {
			t.Errorf("%d steps were taken: %+v", len(res.Steps), res.Steps)
		}
	}
}

// A step is kept up with when nearly all is done in time, without an error, and soon.
func TestJudge(t *testing.T) {
	r := &run{shared: shared{plan: &Plan{Duration: time.Second}}}
	for _, tt := range []struct {
		done, late, failed int64
		answer             time.Duration // of the slowest hundredth
		want               bool
	}{
		{100, 0, 0, time.Millisecond, true},
		{98, 2, 0, time.Millisecond, true},
		{97, 3, 0, time.Millisecond, false},
		{100, 0, 1, time.Millisecond, false},
		{100, 0, 0, keptUpP99 / 2, true},
		{100, 0, 0, 2 * keptUpP99, false},
	} {
		rec := newRecorder(1, 0, time.Second)
		g := &rec.groups[0]
		g.Attempts, g.Done = tt.done+tt.late+tt.failed, tt.done+tt.late
		g.Errors = map[Class]int64{Reset: tt.failed}
		g.Answer = NewHistogram()
		for range 90 {
			g.Answer.Record(time.Millisecond)
		}
		for range 10 {
			g.Answer.Record(tt.answer)
		}
		rec.timeline[0].Done = tt.done
		s := r.judge(100, []merging{{rec, true}})
		if s.Sustained != tt.want || s.Errors != tt.failed || s.Achieved != float64(tt.done) {
			t.Errorf("%+v: %+v", tt, s)
		}
	}
}

// A hundred milliseconds each way: TCP costs one round trip, TLS 1.2 two more, and one when it resumes (RFC 5246 section 7.3);
// TLS 1.3 one in either case.
func TestRunDelay(t *testing.T) {
	const each = 100 * time.Millisecond
	s := newSite(t, nil, nil)
	p := s.plan(GroupPlan{Kind: Full12}, GroupPlan{Kind: Ticket}, GroupPlan{Kind: Full13}, GroupPlan{Kind: PSK})
	p.Clients, p.Rate, p.Delay, p.WarmUp, p.Duration = 40, 40, each, time.Second, time.Second
	res := mustRun(t, p)
	trips := func(d time.Duration) time.Duration { return d / (2 * each) } // complete ones
	for i, want := range []time.Duration{2, 1, 1, 1} {
		g := &res.Groups[i]
		l := &g.Latency
		if g.Failed() != 0 || g.Done == 0 {
			t.Errorf("%s: %+v", g.Name, g.Tally)
		}
		if n := trips(l.Connect.Quantile(0)); n != 1 {
			t.Errorf("%s: TCP takes %d round trips: %v", g.Name, n, l.Connect.Quantile(0))
		}
		if n := trips(l.Handshake.Quantile(0)); n != want {
			t.Errorf("%s: TLS takes %d round trips: %v", g.Name, n, l.Handshake.Quantile(0))
		}
		if n := trips(l.Answer.Quantile(0)); n != 1+want+1 {
			t.Errorf("%s: the answer takes %d round trips: %v", g.Name, n, l.Answer.Quantile(0))
		}
	}
}

// Clients of a dead node go on to the next one and stay there.
func TestRunGoesOnToTheNextTarget(t *testing.T) {
	a, b := newSite(t, nil, nil), newSite(t, nil, nil)
	p := a.plan(GroupPlan{Kind: PSK})
	p.Scenario, p.Targets, p.Roots = Failover, []string{a.addr, b.addr}, a.roots+b.roots
	p.Clients, p.Duration = 20, time.Second
	p.Disturb = []Disturbance{{At: 300 * time.Millisecond, Down: true}}
	p.Control = actions{func(string) { _ = a.server.Close() }}
	res := mustRun(t, p)
	g := &res.Groups[0]
	// A conn that was under way may have been cut, one of each client at most.
	if cut := g.Errors[Closed] + g.Errors[Reset]; g.Moved != 10 || g.Failed() > cut || cut > 10 || g.Refused != 10 {
		t.Errorf("%+v", g.Tally)
	}
}

func TestRunSlowReader(t *testing.T) {
	s := newSite(t, nil, nil)
	p := s.plan(GroupPlan{Kind: PSK, Response: 100_000, ReadRate: 200_000})
	p.Clients, p.Rate = 40, 40
	res := mustRun(t, p)
	g := &res.Groups[0]
	if fast := g.Latency.Answer.Quantile(0); g.Failed() != 0 || fast < 390*time.Millisecond {
		t.Errorf("100 kB at 200 kB/s came in %v: %+v", fast, g.Tally)
	}
}

// Nothing of a run is left behind.
func TestRunLeaksNothing(t *testing.T) {
	s := newSite(t, nil, nil)
	s.server.SetKeepAlivesEnabled(false)
	p := s.plan(GroupPlan{Kind: PSK})
	mustRun(t, p)
	testkit.Eventually(t, "the server's side to end", func() bool { return runtime.NumGoroutine() < 20 })
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	for range 3 {
		mustRun(t, p)
	}
	testkit.Eventually(t, "no more goroutines and descriptors than before", func() bool {
		return runtime.NumGoroutine() <= goroutines && descriptors(t) <= fds
	})
}

func TestRunRefusesWhatCannotWork(t *testing.T) {
	s := newSite(t, func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	_ = l.Close()
	missing := newSite(t, nil, http.NotFound)
	for _, c := range []struct {
		says, want string
		change     func(*Plan)
	}{
		{"nobody listens", "connection refused: nothing listens there", func(p *Plan) { p.Targets = []string{nobody} }},
		{"the name is another", `the certificate is not accepted for "other.test"`, func(p *Plan) { p.Names = []string{"other.test"} }},
		{"one name of two is another", `"other.test"`, func(p *Plan) { p.Names = append(p.Names, "other.test") }},
		{"nobody knows who signed it", "certificate is not accepted", func(p *Plan) { p.Roots = missing.roots }},
		{"no certificate", "there is no certificate in them", func(p *Plan) { p.Roots = "PEM" }},
		{"the version is refused", "does not speak TLS 1.2, which clients of the kind ticket need", func(p *Plan) { p.Groups[0].Kind = Ticket }},
		{"not TLS", "does not speak TLS: it answers \"SSH-2.0", func(p *Plan) { p.Targets = []string{speak(t, "SSH-2.0-OpenSSH_9.2\r\n")} }},
		{"status 404", "status of 2xx", func(p *Plan) { p.Targets, p.Roots = []string{missing.addr}, missing.roots }},
		{"an unknown name", "no address is known", func(p *Plan) { p.Targets, p.Sources = []string{"nowhere.invalid:1"}, SourceKernel }},
		{"no port", "is no port", func(p *Plan) { p.Targets = []string{"127.0.0.1:nope"} }},
		{"too few descriptors", "raise ulimit -n, or take fewer clients", func(p *Plan) { p.Clients = maxClients }},
		{"silence", "does not answer within 300ms", func(p *Plan) { p.Targets, p.Timeout = []string{speak(t, "")}, 300*time.Millisecond }},
	} {
		p := s.plan(GroupPlan{Kind: PSK})
		c.change(&p)
		res, err := Run(t.Context(), p, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || res != nil {
			t.Errorf("%s: %v, want %q", c.says, err, c.want)
		}
	}
}

// speak starts a server that says one thing and then nothing.
func speak(t *testing.T, words string) string {
	t.Helper()
	return testkit.Serve(t, func(c net.Conn) {
		_, _ = io.WriteString(c, words)
		testkit.Silence(c)
	})
}

func TestCheckPorts(t *testing.T) {
	for _, c := range []struct {
		sources Sources
		ports   int
		bad     bool
	}{{SourceShared, 999, true}, {SourceKernel, 999, true}, {SourceOwn, 999, false}, {SourceShared, 1000, false}, {SourceKernel, 0, false}} {
		r := run{shared: shared{plan: &Plan{Clients: 1000, Sources: c.sources}, targets: make([]netip.AddrPort, 1)}}
		if err := r.checkPorts(c.ports); (err != nil) != c.bad {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if n := portRange(); n < 1000 {
		t.Errorf("%d ports", n)
	}
}

package farm_test

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"homing/bench"
	"homing/bench/farm"
	"homing/bench/tlsserver"
)

func startFarm(t *testing.T, o farm.Options) *farm.Backends {
	t.Helper()
	f, err := farm.StartBackends(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Stop(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// plan is a short run of the given kinds to some of the farm's farm.
func plan(t *testing.T, f *farm.Backends, targets []string, mix string) bench.Plan {
	t.Helper()
	p, err := bench.NewPlan(bench.Resume, targets...)
	if err != nil {
		t.Fatal(err)
	}
	if p.Groups, err = bench.ParseMix(mix); err != nil {
		t.Fatal(err)
	}
	p.Names, p.Roots = []string{farm.BackendsName}, f.Roots()
	p.Clients, p.Rate, p.WarmUp, p.Duration = 60, 300, 500*time.Millisecond, time.Second
	return p
}

func run(t *testing.T, p bench.Plan) *bench.Result {
	t.Helper()
	res, err := bench.Run(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			var b strings.Builder
			_ = res.WriteText(&b)
			t.Log(b.String())
		}
	})
	if res.Ended != "" {
		t.Errorf("ended: %s", res.Ended)
	}
	return res
}

// logged counts the lines of a server's log by what they say of the session and the protocol: "r TLSv1.2".
func logged(t *testing.T, path string) map[string]int64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int64{}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 5 || f[3] != "200" {
			t.Fatalf("log line %q", line)
		}
		counts[f[0]+" "+f[1]]++
	}
	return counts
}

// What the clients count is what nginx's own log says ($ssl_session_reused), to the handshake, warm-up and the probes before the
// run included.
func TestIntegrationCountsAgreeWithNginx(t *testing.T) {
	needServers(t)
	for _, noTickets := range []bool{false, true} {
		f := startFarm(t, farm.Options{N: 2, Nginx: true, EarlyData: true, AccessLog: true, NoTickets: noTickets})
		p := plan(t, f, f.Addrs(), "full12,full13,id,ticket,psk,0rtt")
		p.Watch = f.Watched()
		res := run(t, p)
		want := map[string]int64{
			". TLSv1.2": int64(len(f.Addrs())), ". TLSv1.3": int64(len(f.Addrs())), // the probes
		}
		perBackend := map[string]int64{}
		for i := range res.Groups {
			g := &res.Groups[i]
			protocol := "TLSv1.2"
			if g.Kind == bench.PSK || g.Kind == bench.Early || g.Kind == bench.Full13 {
				protocol = "TLSv1.3"
			}
			want["r "+protocol] += g.Total.Accepted
			want[". "+protocol] += g.Total.Done - g.Total.Accepted
			for name, b := range g.Total.Backends {
				perBackend[name] += b.Conns
			}
			full := g.Kind == bench.Full12 || g.Kind == bench.Full13 || g.Kind == bench.Ticket && noTickets
			switch {
			case g.Failed() != 0 || g.Total.Failed() != 0 || g.Done == 0:
				t.Errorf("%s: %+v", g.Name, g.Tally)
			case full && g.Offered != 0 || !full && g.Accepted != g.Done: // nobody but the issuer is asked
				t.Errorf("%s, tickets off %v: %+v", g.Name, noTickets, g.Tally)
			case g.Kind == bench.Early && !noTickets && (g.EarlyAccepted != g.Done || g.EarlyOffered != g.Done):
				t.Errorf("early data: %+v", g.Tally)
			}
		}
		got := map[string]int64{}
		for i := range f.Addrs() {
			var all int64
			for what, n := range logged(t, f.LogPath(i)) {
				got[what] += n
				all += n
			}
			if probes := int64(2); perBackend[farm.BackendName(i)] != all-probes {
				t.Errorf("%s logs %d requests, two of them probes, and the clients count %d", farm.BackendName(i), all, perBackend[farm.BackendName(i)])
			}
		}
		if !maps.Equal(got, want) {
			t.Errorf("nginx logs %v, the clients count %v", got, want)
		}
		for _, u := range res.Watched {
			if u.CPU <= 0 || u.Memory <= 0 {
				t.Errorf("%+v", u)
			}
		}
	}
}

// A backend that comes back has neither sessions nor keys of before: each client is refused once, and resumes again.
func TestIntegrationSessionsDieWithTheirBackend(t *testing.T) {
	needServers(t)
	f := startFarm(t, farm.Options{N: 1, Nginx: true})
	for _, mix := range []string{"id", "ticket", "psk"} {
		p := plan(t, f, f.Addrs(), mix)
		p.Scenario, p.Clients, p.Duration = bench.Churn, 20, 2*time.Second
		p.Disturb = []bench.Disturbance{{At: 300 * time.Millisecond, Down: true, Who: "backend1"}, {At: 400 * time.Millisecond, Who: "backend1"}}
		p.Control, p.Watch = f, f.Watched()
		res := run(t, p)
		// The account has followed: the one that was killed has made 20 full handshakes or more, as the one after it.
		if u := res.Watched[0]; u.CPU < 40*50*time.Microsecond || len(res.Warnings) != 0 && strings.Contains(strings.Join(res.Warnings, " "), "not known") {
			t.Errorf("%s: %+v, %q", mix, u, res.Warnings)
		}
		g := &res.Groups[0]
		down := g.Errors[bench.ConnectRefused] + g.Errors[bench.Reset] + g.Errors[bench.Closed]
		if g.Refused != 20 || g.Accepted < 100 || down == 0 || g.Failed() != down {
			t.Errorf("%s: %+v", mix, g.Tally)
		}
		if len(res.Disturbances) != 2 || res.Disturbances[0].Error+res.Disturbances[1].Error != "" {
			t.Errorf("%+v", res.Disturbances)
		}
	}
}

// Every shape of a hello is understood, and resumes.
func TestIntegrationShapes(t *testing.T) {
	needServers(t)
	f := startFarm(t, farm.Options{N: 1, Nginx: true, Key: tlsserver.ECDSA})
	p, err := bench.NewPlan(bench.Fragment, f.Addrs()...)
	if err != nil {
		t.Fatal(err)
	}
	p.Names, p.Roots, p.Rate, p.Duration = []string{farm.BackendsName}, f.Roots(), 300, time.Second
	res := run(t, p)
	if len(res.Groups) != 15 {
		t.Fatalf("%d groups", len(res.Groups))
	}
	for i := range res.Groups {
		if g := &res.Groups[i]; g.Failed() != 0 || g.Accepted == 0 || g.Accepted != g.Attempts {
			t.Errorf("%s: %+v", g.Name, g.Tally)
		}
	}
}

// The figure that everybody knows: what a resumption spares a client that is far away, and early data on top.
func TestIntegrationRoundTrips(t *testing.T) {
	needServers(t)
	const trip = 200 * time.Millisecond // twice the figure, so that a busy machine does not round it up
	f := startFarm(t, farm.Options{N: 1, Nginx: true, EarlyData: true})
	p := plan(t, f, f.Addrs(), "full12,id,ticket,full13,psk,0rtt")
	p.Rate, p.Delay, p.WarmUp, p.Duration = 60, trip/2, time.Second, 2*time.Second
	res := run(t, p)
	for i, want := range []struct{ handshake, answer time.Duration }{{2, 4}, {1, 3}, {1, 3}, {1, 3}, {1, 3}, {1, 2}} {
		g := &res.Groups[i]
		handshake, answer := g.Latency.Handshake.Quantile(0), g.Latency.Answer.Quantile(0)
		if handshake/trip != want.handshake || answer/trip != want.answer {
			t.Errorf("%s: the handshake takes %v after TCP, the answer %v from the start", g.Name, handshake, answer)
		}
	}
}

func TestIntegrationFarmTellsOverItsControlAddress(t *testing.T) {
	needServers(t)
	f := startFarm(t, farm.Options{N: 2, Nginx: true})
	remote := serveControl(t, f)
	info, err := remote.Info(t.Context())
	if err != nil || !slices.Equal(info.Addrs, f.Addrs()) || info.Roots != f.Roots() || len(info.Watched[1].PIDs) < 2 {
		t.Fatalf("%+v, %v", info, err)
	}
	for range 2 { // again is no fault
		if err := remote.Down(t.Context(), "backend2"); err != nil {
			t.Fatal(err)
		}
	}
	if info, err = remote.Info(t.Context()); err != nil || len(info.Watched[1].PIDs) != 0 || len(info.Watched[0].PIDs) == 0 {
		t.Errorf("%+v, %v", info.Watched, err)
	}
	p := plan(t, f, f.Addrs()[1:], "psk")
	if _, err := bench.Run(t.Context(), p, nil); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("a backend that is down: %v", err)
	}
	for range 2 {
		if err := remote.Up(t.Context(), "backend2"); err != nil {
			t.Fatal(err)
		}
	}
	run(t, p)
	if err := remote.Up(t.Context(), "backend3"); err == nil || !strings.Contains(err.Error(), "there is no backend3") {
		t.Errorf("error %v", err)
	}
}

// The process that does the work is among those watched from the first moment on, also after a restart.
func TestIntegrationFarmKnowsTheWorker(t *testing.T) {
	needServers(t)
	f := startFarm(t, farm.Options{N: 1, Nginx: true, Key: tlsserver.ECDSA})
	for range 10 {
		if pids := f.PIDs(0); len(pids) != 2 {
			t.Fatalf("processes %v, want a master and a worker", pids)
		}
		if err := f.Down(t.Context(), "backend1"); err != nil {
			t.Fatal(err)
		}
		if err := f.Up(t.Context(), "backend1"); err != nil {
			t.Fatal(err)
		}
	}
}

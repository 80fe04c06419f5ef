package integration

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"os/exec"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
	findings "homing/cmd/homing/internal/observe/judge"
)

// observe runs the command on a capture.
func observe(t *testing.T, file string, flags ...string) *findings.Findings {
	t.Helper()
	args := append([]string{"observe", "--pcap", file, "--json", "-", "--anonymize", "off"}, flags...)
	out, err := exec.CommandContext(t.Context(), binary, args...).Output()
	if err != nil {
		t.Fatalf("homing observe: %v: %s", err, err.(*exec.ExitError).Stderr)
	}
	var f findings.Findings
	testkit.Check(t, json.Unmarshal(out, &f))
	return &f
}

// compareFindings compares what is counted of each server, version and kind of offer with the truth.
func compareFindings(t *testing.T, truth []handshake, f *findings.Findings) {
	t.Helper()
	got := map[kindOf]int{}
	for _, r := range f.Rows {
		if r.Service == siteAddr { // of the balancer, before which the same is seen again
			continue
		}
		version := map[string]string{"TLS 1.2": "TLSv1.2", "TLS 1.3": "TLSv1.3"}[r.Version]
		for accepted, n := range map[bool]uint64{true: r.Accepted, false: r.Fresh + r.Refused} {
			if n > 0 {
				got[kindOf{r.Service, version, r.Kind, accepted}] += int(n)
			}
		}
		if r.Undecided+r.Failed != 0 || r.Lost+r.DoubtfulIDs != r.Refused || r.Accepted+r.Refused != r.Offers {
			t.Errorf("%+v", r)
		}
	}
	if diff := diffCounts(counted(truth), got); diff != "" {
		t.Errorf("(-nginx +observe):\n%s", diff)
	}
}

// fared is what became of the sessions that clients offered: those that they had from a server.
func fared(t *testing.T, p *itinerary) (offers, accepted int) {
	t.Helper()
	p.truth(t) // nginx and the clients agree
	for _, list := range p.met {
		for _, h := range list {
			if h.session {
				offers++
			}
			if h.Resumed {
				accepted++
			}
		}
	}
	return offers, accepted
}

// What observe predicts of homing, between balancer and servers, is what homing then does for the same clients, and counts are
// nginx's; before the balancer its bounds hold both.
func TestIntegrationObservePredicts(t *testing.T) {
	const half = 1000
	for _, tt := range []struct {
		name    string
		cfg     farm.NginxConfig
		restart bool
		within  float64
	}{
		{"private keys", farm.NginxConfig{}, false, 0.01},
		{"one starts anew", farm.NginxConfig{}, true, 0.01},
		{"a shared key", farm.NginxConfig{TicketKey: sharedTicketKey()}, false, 0.01},
		{"no session cache", farm.NginxConfig{SessionCache: "none"}, false, 0.01},
		// Sessions of TLS 1.3 have no names here, and clients that roam come home by chance. Who looks on from behind the
		// balancer does not see them roam.
		{"no tickets", farm.NginxConfig{NoTickets: true}, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newObservedSite(t, tt.cfg)
			balancer := s.roundRobin(t)
			back, front := s.record(t, "back.pcap", mirrorBack), s.record(t, "front.pcap", mirrorFront)
			both := s.record(t, "both.pcap", mirrorBoth)
			before := newItinerary(t, s, 6)
			before.halves(t, half, tt.restart)
			truth := before.truth(t)
			offers, accepted := fared(t, before)
			balancer.Stop()
			backFile, frontFile, bothFile := back.end(t), front.end(t), both.end(t)

			s.forget(t)
			s.homing(t)
			after := newItinerary(t, s, 6)
			after.halves(t, half, tt.restart)
			offersAfter, acceptedAfter := fared(t, after)
			measured := share(acceptedAfter, offersAfter)
			t.Logf("round robin: %d of %d offers accepted; homing: %d of %d", accepted, offers, acceptedAfter, offersAfter)

			f := observe(t, backFile)
			compareFindings(t, truth, f)
			checkView(t, f, findings.ViewBetween)
			checkPrediction(t, f, offers, accepted, measured, tt.within)
			f = observe(t, bothFile)
			checkView(t, f, findings.ViewBoth)
			checkPrediction(t, f, offers, accepted, measured, tt.within)
			f = observe(t, frontFile)
			checkView(t, f, findings.ViewBefore)
			checkPrediction(t, f, offers, accepted, measured, 1)
			for _, server := range f.Servers {
				if server.AtLeast > len(s.servers) {
					t.Errorf("at least %d servers: %+v", server.AtLeast, server)
				}
			}
		})
	}
}

func share(part, whole int) float64 { return float64(part) / float64(whole) }

func checkView(t *testing.T, f *findings.Findings, want string) {
	t.Helper()
	if f.View.Kind != want {
		t.Errorf("the view is %+v, want %s", f.View, want)
	}
}

// checkPrediction checks what is counted and predicted of all offers. What clients without a session invent is none.
func checkPrediction(t *testing.T, f *findings.Findings, offers, accepted int, measured, within float64) {
	t.Helper()
	total := &f.Total
	all := float64(total.Accepted + total.Lost)
	low, best, high := total.Homing.Low/all, total.Homing.Accepted/all, total.Homing.High/all
	t.Logf("%s: %d of %d accepted; with homing %.4f (%.4f to %.4f), measured %.4f", f.View.Kind, total.Accepted, int(all), best, low, high, measured)
	if int(total.Accepted) != accepted || int(all) > offers || int(all) < offers-offers/100 {
		t.Errorf("%d of %.0f offers accepted, in truth %d of %d", total.Accepted, all, accepted, offers)
	}
	slack := 0.003 // an offer or two
	if within == 1 {
		slack = 0.03 // chance is in the measured too
	}
	if measured < low-slack || measured > high+slack || low > best || best > high || high > 1 || low < 0 {
		t.Errorf("%.4f is not within %.4f and %.4f, or %.4f", measured, low, high, best)
	}
	if within < 1 && (best < measured-within || best > measured+within) {
		t.Errorf("homing brings %.4f home, predicted were %.4f", measured, best)
	}
	if s := total.Saved; s.Low > s.Accepted || s.Accepted > s.High || s.High > 1 || s.Low < 0 {
		t.Errorf("saved %+v", s)
	}
}

// halves is a run, in the middle of which one server may be started anew.
func (p *itinerary) halves(t *testing.T, half int, restart bool) {
	t.Helper()
	p.run(t, half)
	if restart {
		one := p.site.servers[1]
		testkit.Eventually(t, "nginx has logged all", func() bool { return len(logLines(t, one)) >= len(p.met[1]) })
		one.Kill()
		testkit.Check(t, one.Restart(t.Context()))
		time.Sleep(3 * time.Second) // a check finds it
	}
	p.run(t, half)
}

// A fresh hello of crypto/tls in TLS 1.2 has a session ID that it invents. However many such clients there are, none of them
// has lost a session.
func TestIntegrationObserveInventedIDs(t *testing.T) {
	s := newObservedSite(t, farm.NginxConfig{})
	s.roundRobin(t)
	back, front, both := s.record(t, "back.pcap", mirrorBack), s.record(t, "front.pcap", mirrorFront), s.record(t, "both.pcap", mirrorBoth)
	p := newItinerary(t, s, 1)
	p.callers = p.callers[:1] // one that resumes by ID
	for range 3 {
		cfg := clientConfig(s.cert, tls.VersionTLS12)
		cfg.Source = p.source
		p.callers = append(p.callers, caller{"Go that forgets", offersID, offersID, &goForgetful{cfg}})
	}
	p.run(t, 600)
	offers, accepted := fared(t, p)
	for _, m := range []*mirror{back, front, both} {
		f := observe(t, m.end(t))
		if int(f.Total.Accepted) != accepted || int(f.Total.Accepted+f.Total.Lost) > offers+offers/20 {
			t.Errorf("%s: %d of %d offers accepted, in truth %d of %d: %+v", f.View.Kind, f.Total.Accepted,
				f.Total.Accepted+f.Total.Lost, accepted, offers, f.Total)
		}
	}
}

// goForgetful is crypto/tls without a cache.
type goForgetful struct{ cfg tlsclient.Config }

func (f *goForgetful) Get(ctx context.Context, addr string) (tlsclient.Result, error) {
	return newGoClient(f.cfg).Get(ctx, addr)
}

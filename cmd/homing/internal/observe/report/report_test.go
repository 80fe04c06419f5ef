package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"

	"homing/balancer/affinity"
	"homing/bench/testkit"
	"homing/cmd/homing/internal/observe/judge"
)

// Look at the result before you commit it, pages in a browser.
var update = flag.Bool("update", false, "rewrite the golden files in testdata")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		testkit.Check(t, os.WriteFile(file, got, 0o644))
		return
	}
	want, err := os.ReadFile(file)
	testkit.Check(t, err)
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestGolden(t *testing.T) {
	for _, tc := range []struct {
		file  string
		f     *judge.Findings
		write func(io.Writer, *judge.Findings) error
	}{
		{"between.txt", between(), WriteText},
		{"between.json", between(), WriteJSON},
		{"between.html", between(), WriteHTML},
		{"anonymous.txt", Anonymize(between(), []byte("key"), "trace.pcapng"), WriteText},
		{"anonymous.json", Anonymize(between(), []byte("key"), "trace.pcapng"), WriteJSON},
		{"before.txt", before(), WriteText},
		{"before.html", before(), WriteHTML},
		{"nothing.txt", &judge.Findings{View: judge.View{Kind: judge.ViewNothing}}, WriteText},
	} {
		t.Run(tc.file, func(t *testing.T) {
			var b bytes.Buffer
			testkit.Check(t, tc.write(&b, tc.f))
			golden(t, tc.file, b.Bytes())
		})
	}
}

// The headline is the sentence that people quote: it says what is known, and no more.
func TestHeadline(t *testing.T) {
	edit := func(f *judge.Findings, do func(f *judge.Findings)) *judge.Findings {
		do(f)
		return f
	}
	for _, tc := range []struct {
		name string
		f    *judge.Findings
		want string
	}{
		{"counted", between(), "You lose 41 % of 12,300 resumptions an hour; homing would have brought 98.7 % of these home."},
		{"a short time, and bounds", before(), "You lose 66.9 % of 1,800 resumptions in 20 s; homing would have brought home at least 62.6 % " +
			"of these, and about 96.5 % (62.6 % to 100 %) as far as can be told from here."},
		{"one server", single(), "You lose 5.6 % of 1,800 resumptions in 20 s. Nothing shows that more than one server is behind what " +
			"was seen: whether homing would have brought these home, a capture between balancer and servers tells."},
		{
			"wide bounds", edit(between(), func(f *judge.Findings) { f.Total.Saved.Low = 0.5 }),
			"You lose 41 % of 12,300 resumptions an hour; homing would have brought about 98.7 % (50 % to 99 %) of these home.",
		},
		{
			"one server of several", edit(between(), func(f *judge.Findings) { f.Total.Saved = judge.Prediction{High: 1} }),
			"You lose 41 % of 12,300 resumptions an hour. How much of it homing would have brought home cannot be said: a capture of all " +
				"servers, or a longer one, tells.",
		},
		{
			"much is missing", edit(between(), func(f *judge.Findings) { f.Unjudged.Bound = 0.05 }),
			"You lose 41 % of 12,300 resumptions an hour; homing would have brought 98.7 % of these home. 5 % of the conns could not be " +
				"judged, and may have fared otherwise.",
		},
		{
			"nothing lost", edit(between(), func(f *judge.Findings) { f.Total = outcome(5, 100, 0, judge.Prediction{}, true) }),
			"No resumption is lost: all of 100 resumptions an hour were accepted.",
		},
		{
			"no offers", edit(between(), func(f *judge.Findings) { f.Total = outcome(5, 0, 0, judge.Prediction{}, true) }),
			"No client offered a session that servers knew, in 5 handshakes: there is nothing to lose.",
		},
		{
			"sessions from before the capture", edit(between(), func(f *judge.Findings) {
				f.Total = outcome(5, 0, 100, judge.Prediction{High: 0.878}, true)
				f.Total.Why = map[string]uint64{"unknown": 100}
			}),
			"You lose 100 % of 100 resumptions an hour. Most of them are older than the capture, or name no issuer: homing would have " +
				"brought 0 % to 87.8 % of these home, and a longer capture tells more.",
		},
		{
			"addresses apart", edit(single(), func(f *judge.Findings) { f.View.Kind = judge.ViewApart }),
			"You lose 5.6 % of 1,800 resumptions in 20 s. The addresses seen here have shown nothing in common: if they are servers of " +
				"one balancer, name them (--backend), and what homing would have brought home can be told.",
		},
		{
			"nothing is certain", edit(before(), func(f *judge.Findings) {
				f.Total = outcome(60, 0, 100, judge.Prediction{High: 1}, false)
			}),
			"You lose 100 % of 100 resumptions in 20 s. Several servers are behind what was seen, and how much of it homing would have " +
				"brought home cannot be said from here: a capture between balancer and servers tells.",
		},
		{
			"session IDs from before the capture", edit(between(), func(f *judge.Findings) {
				f.Total = outcome(5, 100, 0, judge.Prediction{}, true)
				f.Total.Offers, f.Total.Refused, f.Total.DoubtfulIDs = 300, 200, 200
			}),
			"All of 100 resumptions an hour were accepted. But servers refused 200 session IDs that nobody was seen to issue: clients " +
				"invent such, or they are older than the capture, and a longer one tells.",
		},
		{
			"session IDs from before the capture alone", edit(between(), func(f *judge.Findings) {
				f.Total = outcome(5, 0, 0, judge.Prediction{}, true)
				f.Total.Offers, f.Total.Refused, f.Total.DoubtfulIDs = 200, 200, 200
			}),
			"Whether resumptions are lost cannot be said: servers refused 200 session IDs that nobody was seen to issue, and clients " +
				"invent such. They may be older than the capture: a longer one tells.",
		},
		{
			"hellos alone", edit(between(), func(f *judge.Findings) { f.Total = judge.Outcome{} }),
			"No handshake was seen from its begin to the server's answer: nothing can be said.",
		},
		{
			"nothing", &judge.Findings{View: judge.View{Kind: judge.ViewNothing}},
			"No TLS handshake was seen: is this the port of the servers (--port), and are both directions in the capture?",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Headline(tc.f)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Nothing that names anybody is left in what is anonymous, in whatever form; the same key makes the same hashes, another one
// others; and findings themselves stay what they are.
func TestAnonymize(t *testing.T) {
	f := between()
	a, b, c := Anonymize(f, []byte("one"), "trace.pcapng"), Anonymize(f, []byte("one"), "trace.pcapng"), Anonymize(f, []byte("two"), "trace.pcapng")
	if diff := cmp.Diff(between().Servers, f.Servers); diff != "" {
		t.Errorf("findings have changed:\n%s", diff)
	}
	if !cmp.Equal(a.Servers, b.Servers) || cmp.Equal(a.Servers, c.Servers) || a.ByName[0].Name == c.ByName[0].Name {
		t.Error("hashes do not belong to their key")
	}
	if a.Servers[0].Address != a.Keys[0].Holders[0] {
		t.Errorf("one address has two hashes: %s, %s", a.Servers[0].Address, a.Keys[0].Holders[0])
	}
	live := between()
	live.Capture.Source, live.Capture.Ended = "dmz-paris", "interface dmz-paris is gone, behind 34 packets"
	if got := Anonymize(live, []byte("one"), "-").Capture.Ended; got != "the interface is gone, behind 34 packets" {
		t.Errorf("of an interface it says %q", got)
	}
	for name, write := range map[string]func(io.Writer, *judge.Findings) error{"text": WriteText, "json": WriteJSON, "html": WriteHTML} {
		var out bytes.Buffer
		testkit.Check(t, write(&out, a))
		for _, secret := range []string{"192.0.2", "2001:db8", "example.org", "trace.pcapng", "deadbeef", "0badcafe"} {
			if strings.Contains(out.String(), secret) {
				t.Errorf("%s tells %s", name, secret)
			}
		}
	}
}

// A page needs nothing beside itself, and holds nothing that a name may bring along.
func TestPageIsClosed(t *testing.T) {
	f := between()
	f.ByName[0].Name = `<script src="//evil.example/x.js">`
	f.Capture.Source = `"><img src=x>`
	var out bytes.Buffer
	testkit.Check(t, WriteHTML(&out, f))
	if found := regexp.MustCompile(`(?i)<script|<img|<link|<[^>]* src=|https?:|url\(`).FindAllString(out.String(), -1); len(found) > 0 {
		t.Errorf("the page refers to %q", found)
	}
}

// A name of hundreds of bytes, which is not escaped either, leaves the table one that can be read.
func TestLongName(t *testing.T) {
	f := between()
	f.ByName[0].Name = strings.Repeat(`\x1b`, 255)
	var out strings.Builder
	testkit.Check(t, WriteText(&out, f))
	for line := range strings.Lines(out.String()) {
		if len(line) > 200 {
			t.Errorf("a line of %d bytes: %s", len(line), line)
		}
	}
}

// JSON is read back as it was.
func TestJSON(t *testing.T) {
	var out bytes.Buffer
	testkit.Check(t, WriteJSON(&out, between()))
	var f judge.Findings
	dec := json.NewDecoder(&out)
	dec.DisallowUnknownFields()
	testkit.Check(t, dec.Decode(&f))
	f.Tallies, f.Ground = between().Tallies, judge.Ground{}
	if diff := cmp.Diff(between(), &f, cmp.AllowUnexported(judge.Ground{})); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
}

// The screen has the last minute beside the whole, and forgets what is older.
func TestWatch(t *testing.T) {
	var w Watch
	f := before()
	var out strings.Builder
	for i := range 90 {
		f.Ended = f.Begun.Add(time.Duration(i) * 2 * time.Second)
		f.Observed = f.Ended.Sub(f.Begun).Seconds()
		f.Tallies[affinity.OfferTicket].Accepted += 10
		f.Tallies[affinity.OfferTicket].Refused += uint64(i % 3)
		screen := w.Screen(f)
		if i == 5 || i == 89 {
			out.WriteString(screen + "\n")
		}
	}
	if len(w.past) > maxLooks {
		t.Errorf("%d looks are kept", len(w.past))
	}
	golden(t, "screen.txt", []byte(out.String()))
}

// What turns out to be a balancer's address goes out of the whole: the last minute begins anew, and has no less than nothing.
func TestWatchWithFewer(t *testing.T) {
	var w Watch
	f := before()
	f.Tallies[affinity.OfferNone].Fresh, f.Tallies[affinity.OfferTicket].Refused = 100, 50
	w.Screen(f)
	f.Ended = f.Ended.Add(2 * time.Second)
	f.Tallies[affinity.OfferNone].Fresh, f.Tallies[affinity.OfferTicket].Refused = 40, 20
	w.Screen(f)
	f.Ended = f.Ended.Add(2 * time.Second)
	f.Tallies[affinity.OfferNone].Fresh += 7
	if screen := w.Screen(f); !regexp.MustCompile(`the last 2 s +7 +7 +0 `).MatchString(screen) {
		t.Error(screen)
	}
}

func TestMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	testkit.Check(t, registry.Register(Collector(func() *judge.Findings {
		f := between()
		front := judge.Row{Service: "192.0.2.1:443", Outcome: outcome(700, 7257, 5043, judge.Prediction{}, false)}
		f.Servers = append(f.Servers, judge.Server{Address: front.Service, Role: "front", Outcome: front.Outcome}) // not counted
		f.Rows = append(f.Rows, front)
		return f
	})))
	families, err := registry.Gather()
	testkit.Check(t, err)
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	testkit.Check(t, err)
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	var out bytes.Buffer
	for _, family := range families {
		_, err := expfmt.MetricFamilyToText(&out, family)
		testkit.Check(t, err)
	}
	golden(t, "metrics.txt", out.Bytes())
}

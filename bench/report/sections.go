package report

import (
	"fmt"
	"math"
	"strings"

	"homing/bench"
)

// shareTicks are the axis of a share.
func shareTicks() []tick {
	return []tick{{At: 0, Text: "0"}, {At: 0.5, Text: "50 %"}, {At: 1, Text: "100 %"}}
}

func (v *view) resumedSection() section {
	list := v.questions(string(bench.Resume))
	choices := v.choices(list)
	s := section{
		ID: "resumed", Title: "Accepted resumptions",
		Lead: "Clients come back and offer the session they have. The share of offers that a backend accepted, by the way the session is " +
			"offered and by whether a client keeps its address; the thin lines run from the least to the greatest round.",
		Panels: v.barPanels(list, choices, measure(mResumed), 1, shareTicks()),
	}
	if len(list) > 0 {
		s.Tables = []table{v.measureTable("Share of offers accepted", list, choices, measure(mResumed))}
		s.More = []table{v.measureTable("Share of the conns that the busiest backend had: a third is even for three", list, choices, measure(mBusiest))}
	}
	return s
}

// costSection stacks what a conn costs the backends and the balancer itself.
func (v *view) costSection() section {
	list := v.questions(string(bench.Resume))
	choices := v.choices(list)
	backend, balancer := measure(mBackend), measure(mBalancer)
	both := Measure{Key: "both", About: "CPU time of backends and balancer per conn", format: micros, value: func(t *Test, a *Arm, i int) float64 {
		sum := backend.value(t, a, i)
		if own := balancer.value(t, a, i); !math.IsNaN(own) {
			sum += own
		}
		return sum
	}}
	top := v.greatest(list, choices, both)
	s := section{
		ID: "cost", Title: "CPU per conn",
		Lead: "What one conn costs the servers that you pay for: the backends' CPU time (full colour) and the balancer's own (lighter). " +
			"A full handshake is what makes a backend work; the harness's own cost is in the tables.",
		Legend: []legend{{"part-backend", "backends"}, {"part-balancer", "balancer"}},
	}
	for _, q := range list {
		b := v.newBars(q, choices, func(c choice, run int) amount {
			sum := v.stats(q, c, both)[run]
			a := amount{stat: sum, text: both.shortText(sum)}
			a.parts, a.classes = []float64{v.stats(q, c, backend)[run].Median}, []string{c.class()}
			if own := v.stats(q, c, balancer)[run]; own.OK() {
				a.parts, a.classes = append(a.parts, own.Median), append(a.classes, c.class()+" own")
			}
			return a
		}, top, evenTicks(both, top))
		s.Panels = append(s.Panels, panel{Title: panelTitle(q), Bars: b, Alt: alt(both.About, b)})
	}
	if len(list) > 0 {
		for _, m := range []struct{ key, caption string }{
			{mBackend, "CPU time of the backends per conn"},
			{mBalancer, "CPU time of the balancer's own processes per conn"},
			{mMachine, "CPU time of the whole machine per conn, clients and kernel included"},
			{mClient, "CPU time of the harness per conn: not a server's, but it is on the same machine"},
		} {
			s.More = append(s.More, v.measureTable(m.caption, list, choices, measure(m.key)))
		}
		s.Tables, s.More = s.More[:2], s.More[2:]
	}
	return s
}

func (v *view) latencySection() section {
	list := v.questions(string(bench.Resume))
	choices := v.choices(list)
	s := section{
		ID: "latency", Title: "Time to the answer",
		Lead: "From when a conn should have begun to the last byte of its answer: a stall counts for every conn that should have begun during it. " +
			"To the right are the slowest conns, each further nine has the same room.",
		Legend: legends(choices),
	}
	for _, q := range list {
		s.Panels = append(s.Panels, v.perRun(q, func(t *Test) panel {
			return panel{Curves: v.percentiles(t, choices), Alt: "Percentiles of the time to the answer; the table has the median and the 99th."}
		})...)
	}
	if len(list) > 0 {
		s.Tables = []table{
			v.measureTable("Median of the TLS handshake, from the TCP conn on", list, choices, measure(mHandshake)),
			v.measureTable("99 % had their answer within, from when the conn should have begun", list, choices, measure(mAnswer)),
		}
	}
	return s
}

// perRun draws a chart for each run that has the question.
func (v *view) perRun(q question, draw func(t *Test) panel) []panel {
	var panels []panel
	for run, t := range q.of {
		if t == nil {
			continue
		}
		p := draw(t)
		if p.Curves == nil && p.Areas == nil && p.Bars == nil {
			continue
		}
		if p.Title == "" {
			p.Title = panelTitle(q)
		}
		if l := v.letter(run); l != "" {
			p.Title = l + ": " + p.Title
		}
		panels = append(panels, p)
	}
	return panels
}

func (v *view) secondSection() section {
	return v.oneAndSeveral(Second, "What the second backend does",
		"One backend, then several behind the same balancer; clients reconnect as fast as they get answers. Requests per second of backend CPU "+
			"with several, as a part of those with one: 100 % means that a further backend adds all it has. \"Each client its own\" goes without "+
			"a balancer and does as well as any could: what it loses, the backends' processes take from each other on this machine.")
}

func (v *view) steadySection() section {
	return v.oneAndSeveral(Steady, "The second backend, at a steady rate",
		"The same, but at one rate that a single backend keeps up with easily: the same conns per second, of the same clients, through one backend "+
			"and then through several, so that none has a queue of conns before it, which it could work off faster in one go than one by one. Each of "+
			"several has less to do, and finds less of its own in the CPU's caches when it is its turn: \"each client its own\" says how much that is.")
}

// oneAndSeveral draws what is kept of the figures of one backend.
func (v *view) oneAndSeveral(scenario, title, lead string) section {
	list := v.questions(scenario)
	choices := v.choices(list)
	several := without(choices)
	m := measure(mKept)
	s := section{
		ID: scenario, Title: title, Lead: lead,
		Panels: v.barPanels(list, several, m, v.greatest(list, several, m), []tick{{At: 0, Text: "0"}, {At: 0.5, Text: "50 %"}, {At: 1, Text: "100 %", Kind: "ref"}}),
	}
	if len(list) > 0 {
		s.Tables = []table{
			v.measureTable("Kept of the requests per second of backend CPU", list, several, m),
			v.measureTable("Of what clients have that each go to a backend of their own, without a balancer", list, notDirect(several), measure(mOfBest)),
		}
		s.More = []table{
			v.measureTable("Conns per second", list, choices, measure(mRate)),
			v.measureTable("Backend CPU per conn", list, choices, measure(mBackend)),
			v.measureTable("Share of offers accepted", list, choices, measure(mResumed)),
		}
	}
	return s
}

func (v *view) distanceSection() section {
	list := v.questions(Distance)
	choices := v.choices(list)
	m := measure(mHandshake)
	top := v.greatest(list, choices, m)
	s := section{
		ID: "distance", Title: "Over a distance",
		Panels: v.barPanels(list, choices, m, top, evenTicks(m, top)),
	}
	if len(list) > 0 {
		s.Lead = fmt.Sprintf("The same with %s each way between the clients and the balancer: the median TLS handshake, from the TCP conn on. In TLS 1.2 "+
			"a full handshake takes two round trips, a resumed one takes one; TLS 1.3 takes one for both.", span(list[0].Plan.Delay))
		s.Tables = []table{v.measureTable("Median TLS handshake, from the TCP conn on", list, choices, m)}
		s.More = []table{
			v.measureTable("Median up to the end of a full handshake, TCP included", list, choices, measure(mFull)),
			v.measureTable("Median up to the end of a resumed handshake, TCP included", list, choices, measure(mResumption)),
			v.measureTable("Share of offers accepted", list, choices, measure(mResumed)),
		}
	}
	return s
}

func (v *view) rateSection() section {
	list := v.questions(string(bench.Rate))
	choices := v.choices(list)
	s := section{
		ID: "rate", Title: "How fast it goes",
		Lead:   "The rate rises until conns no longer keep up with it: the 99th percentile of the time to the answer at each rate. A line ends where the balancer did.",
		Legend: legends(choices),
	}
	for _, q := range list {
		s.Panels = append(s.Panels, v.perRun(q, func(t *Test) panel {
			return panel{Curves: v.rising(t, choices), Alt: "99th percentile by rate; the table has the greatest rate kept up."}
		})...)
	}
	if len(list) > 0 {
		s.Tables = []table{v.measureTable("Greatest rate of conns per second that was kept up", list, choices, measure(mSustained))}
	}
	return s
}

func (v *view) bulkSection() section {
	list := v.questions(string(bench.Bulk))
	choices := v.choices(list)
	m := measure(mGbit)
	top := v.greatest(list, choices, m)
	s := section{
		ID: "bulk", Title: "Large answers", Lead: "A few clients fetch large answers, one after another.",
		Panels: v.titled(v.barPanels(list, choices, m, top, evenTicks(m, top)), "Gbit/s read by the clients"),
	}
	own := measure(mBalancerGB)
	top = v.greatest(list, choices, own)
	s.Panels = append(s.Panels, v.titled(v.barPanels(list, notDirect(choices), own, top, evenTicks(own, top)), "The balancer's own CPU per GB")...)
	if len(list) > 0 {
		s.Tables = []table{
			v.measureTable("Gbit/s read by the clients", list, choices, m),
			v.measureTable("The balancer's own CPU time per GB", list, choices, own),
		}
		s.More = []table{
			v.measureTable("CPU time of the whole machine per GB", list, choices, measure(mMachineGB)),
		}
	}
	return s
}

func (v *view) titled(panels []panel, title string) []panel {
	for i := range panels {
		panels[i].Title = title
	}
	return panels
}

func (v *view) idleSection() section {
	list := v.questions(string(bench.Idle))
	choices := notDirect(v.choices(list))
	m := measure(mIdle)
	top := v.greatest(list, choices, m)
	s := section{
		ID: "idle", Title: "Idle conns", Lead: "Many conns shake hands and stay open: what each adds to the memory of the balancer's processes.",
		Panels: v.titled(v.barPanels(list, choices, m, top, evenTicks(m, top)), "Memory per idle conn"),
	}
	if len(list) > 0 {
		s.Tables = []table{v.measureTable("Memory per idle conn", list, choices, m)}
		s.More = []table{v.measureTable("Memory in all", list, choices, measure(mMemory))}
	}
	return s
}

func (v *view) churnSection() section {
	return v.overTime(string(bench.Churn), "Backends that come and go",
		"One backend after another is killed, and started again with an empty cache and new keys. What was resumed, what took a full handshake, and what failed, in conns per second.")
}

func (v *view) failoverSection() section {
	return v.overTime(string(bench.Failover), "A node is killed",
		"Two nodes of each balancer stand side by side; one is killed, and its clients go to the other, which knows their sessions or does not.")
}

// overTime draws an arm per chart.
func (v *view) overTime(scenario, title, lead string) section {
	list := v.questions(scenario)
	choices := v.choices(list)
	s := section{
		ID: scenario, Title: title, Lead: lead,
		Legend: []legend{{"good", "resumed"}, {"full", "full handshake"}, {"bad", "failed"}},
	}
	for _, q := range list {
		for _, c := range choices {
			s.Panels = append(s.Panels, v.perRun(q, func(t *Test) panel {
				a := t.Arm(c.key)
				if a == nil {
					return panel{}
				}
				share, failures := "no offers", thousands(a.Tally.Failed())
				if f, ok := a.Tally.Share(); ok {
					share = percent(f)
				}
				return panel{
					Title: c.name + ", " + kindName(q.Kind), Areas: timeline(t, a, peak(t)),
					Alt: fmt.Sprintf("Conns over time. %s of the offers were accepted, %s conns failed.", share, failures),
				}
			})...)
		}
	}
	if len(list) > 0 {
		s.Tables = []table{
			v.measureTable("Share of offers accepted", list, choices, measure(mResumed)),
			v.measureTable("Conns that failed, per round", list, choices, measure(mFailed)),
			v.measureTable("99 % had their answer within", list, choices, measure(mAnswer)),
		}
		s.More = []table{
			v.measureTable("CPU time of the backends per conn, those that were killed and started again included", list, choices, measure(mBackend)),
			v.measureTable("CPU time of the balancer's own processes per conn, likewise", list, choices, measure(mBalancer)),
			v.measureTable("CPU time of the whole machine per conn, clients and kernel included", list, choices, measure(mMachine)),
		}
	}
	return s
}

// shapesSection is about clients that are not all alike: hellos in pieces, slow senders and readers.
func (v *view) shapesSection() section {
	list := v.questions(string(bench.Fragment), string(bench.Slow))
	s := section{
		ID: "shapes", Title: "Odd hellos and slow clients",
		Lead: "Hellos that are large, or cut over records and segments, and clients that take their time. What was resumed, by group of clients.",
	}
	for _, q := range list {
		for run, t := range q.of {
			if t == nil {
				continue
			}
			g := groupTable(t)
			g.Caption = strings.TrimSpace(v.letter(run) + " " + t.title())
			if len(g.Rows) > 0 {
				s.Tables = append(s.Tables, g)
			}
		}
	}
	return s
}

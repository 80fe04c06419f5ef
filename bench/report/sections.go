package report

import (
	"fmt"
	"slices"
	"strings"

	"homing/bench"
	"homing/bench/balancers"
)

// section is one question of the page: charts, and tables whose cells are bars.
type section struct {
	ID, Title, Lead string
	Charts          []chart
	Tables          []table
}

// sectionPlan says what a section is made of.
type sectionPlan struct {
	id, title, lead string
	scenarios       []string
	tables          []tablePlan
	charts          func(t *Test, choices []choice) []chart // of one test; nil: none
	groups          bool                                    // a table of the groups of clients, for each test
	gates           bool                                    // a table of the gates, for each run that has any
}

// tablePlan is a table of one measure.
type tablePlan struct {
	key, caption string
	of           func([]choice) []choice // leaves choices out; nil: none
}

// sectionPlans are the sections, in the order of the page. What no table here has is among all figures of a test, at the
// end of the page.
func sectionPlans() []sectionPlan {
	kept := func() []tablePlan {
		return []tablePlan{
			{mKept, "Kept of the requests per second of backend CPU", several},
			{mOfBest, "Of what clients have that each go to a backend of their own, without a balancer", balancing},
			{mRate, "Conns per second", nil},
		}
	}
	disturbed := func() []tablePlan {
		return []tablePlan{
			{mResumed, "Share of offers accepted", nil},
			{mFailed, "Conns that failed, per round", nil},
			{mAnswer, "99 % had their answer within", nil},
		}
	}
	return []sectionPlan{
		{
			id: "resumed", title: "Accepted resumptions", scenarios: []string{string(bench.Resume)},
			lead: "Clients come back and offer the session they have. The share of offers that a backend accepted, by the way the session is " +
				"offered and by whether a client keeps its address; the thin lines run from the least to the greatest round.",
			tables: []tablePlan{
				{mResumed, "Share of offers accepted", nil},
				{mBusiest, "Share of the conns that the busiest backend had: a third is even for three", nil},
			},
		},
		{
			id: "cost", title: "CPU per conn", scenarios: []string{string(bench.Resume)},
			lead: "What one conn costs the servers that you pay for. A full handshake is what makes a backend work.",
			tables: []tablePlan{
				{mBackend, "CPU time of the backends per conn", nil},
				{mBalancer, "CPU time of the balancer's own processes per conn", nil},
				{mMachine, "CPU time of the whole machine per conn, clients and kernel included", nil},
				{mClient, "CPU time of the harness per conn: not a server's, but it is on the same machine", nil},
			},
		},
		{
			id: "latency", title: "Time to the answer", scenarios: []string{string(bench.Resume)},
			lead: "From when a conn should have begun to the last byte of its answer: a stall counts for every conn that should have begun during it. " +
				"To the right are the slowest conns, each further nine has the same room.",
			tables: []tablePlan{
				{mHandshake, "Median of the TLS handshake, from the TCP conn on", nil},
				{mAnswer, "99 % had their answer within, from when the conn should have begun", nil},
			},
			charts: percentiles,
		},
		{
			id: Second, title: "What the second backend does", scenarios: []string{Second},
			lead: "One backend, then several behind the same balancer; clients reconnect as fast as they get answers. Requests per second of backend CPU " +
				"with several, as a part of those with one: 100 % means that a further backend adds all it has. \"Each client its own\" goes without " +
				"a balancer and does as well as any could: what it loses, the backends' processes take from each other on this machine.",
			tables: kept(),
		},
		{
			id: Steady, title: "The second backend, at a steady rate", scenarios: []string{Steady},
			lead: "The same, but at one rate that a single backend keeps up with easily: the same conns per second, of the same clients, through one backend " +
				"and then through several, so that none has a queue of conns before it, which it could work off faster in one go than one by one. Each of " +
				"several has less to do, and finds less of its own in the CPU's caches when it is its turn: \"each client its own\" says how much that is.",
			tables: kept(),
		},
		{
			id: Distance, title: "Over a distance", scenarios: []string{Distance},
			lead: "The same with %s each way between the clients and the balancer: the median TLS handshake, from the TCP conn on. In TLS 1.2 " +
				"a full handshake takes two round trips, a resumed one takes one; TLS 1.3 takes one for both.",
			tables: []tablePlan{{mHandshake, "Median TLS handshake, from the TCP conn on", nil}, {mResumed, "Share of offers accepted", nil}},
		},
		{
			id: "rate", title: "How fast it goes", scenarios: []string{string(bench.Rate)},
			lead:   "The rate rises until conns no longer keep up with it: the 99th percentile of the time to the answer at each rate. A line ends where the balancer did.",
			tables: []tablePlan{{mSustained, "Greatest rate of conns per second that was kept up", nil}},
			charts: rising,
		},
		{
			id: "bulk", title: "Large answers", scenarios: []string{string(bench.Bulk)},
			lead: "A few clients fetch large answers, one after another.",
			tables: []tablePlan{
				{mGbit, "Gbit/s read by the clients", nil},
				{mBalancerGB, "The balancer's own CPU time per GB", balancing},
				{mMachineGB, "CPU time of the whole machine per GB", nil},
			},
		},
		{
			id: "idle", title: "Idle conns", scenarios: []string{string(bench.Idle)},
			lead:   "Many conns shake hands and stay open: what each adds to the memory of the balancer's processes.",
			tables: []tablePlan{{mIdle, "Memory per idle conn", balancing}, {mMemory, "Memory in all", balancing}},
		},
		{
			id: Low, title: "Few conns", scenarios: []string{Low}, gates: true, tables: lowPlans(),
			lead: "Conns that resume, evenly paced, so few that a balancer mostly waits: what each costs a balancer that has to wake up for it. Nothing " +
				"here is counted in ticks of the clock; CPU time that interrupts take from an idle CPU is not in it.",
		},
		{
			id: Rest, title: "Nobody connects", scenarios: []string{Rest},
			lead: "What balancers do when there is nothing to do but to check their backends' health, just after they were started.",
			tables: []tablePlan{
				{mRestCPU, "The balancer's own CPU time per minute", nil},
				{mWakeUps, "Times per second that the balancer's threads waited", nil},
				{mResident, "Resident set of the balancer's processes", nil},
			},
		},
		{
			id: string(bench.Churn), title: "Backends that come and go", scenarios: []string{string(bench.Churn)},
			lead: "One backend after another is killed, and started again with an empty cache and new keys. What was resumed, what took a full " +
				"handshake, and what failed, in conns per second.",
			tables: disturbed(), charts: timelines,
		},
		{
			id: string(bench.Failover), title: "A node is killed", scenarios: []string{string(bench.Failover)},
			lead:   "Two nodes of each balancer stand side by side; one is killed, and its clients go to the other, which knows their sessions or does not.",
			tables: disturbed(), charts: timelines,
		},
		{
			id: "shapes", title: "Odd hellos and slow clients", scenarios: []string{string(bench.Fragment), string(bench.Slow)},
			lead:   "Hellos that are large, or cut over records and segments, and clients that take their time. What was resumed, by group of clients.",
			groups: true,
		},
	}
}

// section makes a section; nil where no run asked.
func (v *view) section(p *sectionPlan) *section {
	list := v.questions(p.scenarios...)
	if len(list) == 0 {
		return nil
	}
	choices := v.choices(list)
	s := &section{ID: p.id, Title: p.title, Lead: p.lead}
	if strings.Contains(s.Lead, "%s") {
		s.Lead = fmt.Sprintf(s.Lead, span(list[0].Plan.Delay))
	}
	for _, q := range list {
		for run, t := range q.of {
			if t == nil {
				continue
			}
			if p.charts != nil {
				for _, c := range p.charts(t, choices) {
					c.Title = strings.TrimPrefix(v.letter(run)+": "+c.Title, ": ")
					c.ID = fmt.Sprintf("%s-%d", p.id, len(s.Charts)+1)
					s.Charts = append(s.Charts, c)
				}
			}
			if g := groupTable(t); p.groups && len(g.Rows) > 0 {
				g.Caption = strings.TrimSpace(v.letter(run) + " " + t.title())
				s.Tables = append(s.Tables, g)
			}
		}
	}
	for _, plan := range p.tables {
		s.Tables = append(s.Tables, v.planned(plan, list, choices))
	}
	for run, r := range v.runs {
		if g := r.gateTable(); p.gates && len(g.Rows) > 0 {
			g.Caption = strings.TrimSpace(v.letter(run) + " " + g.Caption)
			s.Tables = append(s.Tables, g)
		}
	}
	if len(s.Charts)+len(s.Tables) == 0 {
		return nil
	}
	return s
}

// planned is the table of a plan.
func (v *view) planned(plan tablePlan, list []question, choices []choice) table {
	if plan.of != nil {
		choices = plan.of(choices)
	}
	return v.measureTable(plan.caption, list, choices, measure(plan.key))
}

// several leaves out what stands before one backend where others stand before several.
func several(choices []choice) []choice {
	return slices.DeleteFunc(slices.Clone(choices), func(c choice) bool { return strings.HasSuffix(c.key, OneBackend) })
}

// balancing leaves out the way without a balancer, and what stands before one backend where others stand before several.
func balancing(choices []choice) []choice {
	return slices.DeleteFunc(several(choices), func(c choice) bool { return c.family == balancers.FamilyDirect })
}

package report

import (
	"github.com/prometheus/client_golang/prometheus"

	"homing/cmd/homing/internal/observe/judge"
)

// metric is one row of the table: all there is to say of a metric, and how to read it.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	read       func(f *judge.Findings, out func(v float64, labels ...string))
}

// metrics is the table. Names of servers are no labels: clients choose them.
func metrics() []metric {
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	return []metric{
		{
			"homing_observe_handshakes_total", "Handshakes that are part of the whole, by address, version, offer and outcome.", counter,
			[]string{"service", "version", "offer", "outcome"},
			func(f *judge.Findings, out func(float64, ...string)) {
				type key struct{ service, version, kind, outcome string }
				sums := map[key]uint64{}
				beside := map[string]bool{} // seen a second time, behind, or of no concern
				for i := range f.Servers {
					beside[f.Servers[i].Address] = !f.Servers[i].Counted
				}
				for i := range f.Rows {
					r := &f.Rows[i]
					if beside[r.Service] {
						continue
					}
					for outcome, n := range map[string]uint64{"fresh": r.Fresh, "accepted": r.Accepted, "refused": r.Refused, "undecided": r.Undecided} {
						if n > 0 {
							sums[key{r.Service, r.Version, r.Kind, outcome}] += n
						}
					}
				}
				for k, n := range sums {
					out(float64(n), k.service, k.version, k.kind, k.outcome)
				}
			},
		},
		{
			"homing_observe_refused", "Offers that were refused, by why, as far as is known by now.", gauge,
			[]string{"why"},
			func(f *judge.Findings, out func(float64, ...string)) {
				for w := range judge.NumWhys {
					out(float64(f.Total.Why[w.String()]), w.String())
				}
			},
		},
		{
			"homing_observe_lost", "Offers of known kinds that were refused: resumptions lost.", gauge, nil,
			func(f *judge.Findings, out func(float64, ...string)) { out(float64(f.Total.Lost)) },
		},
		{
			"homing_observe_predicted_accepted", "Offers that homing would have had accepted: the estimate and its bounds.", gauge,
			[]string{"bound"},
			func(f *judge.Findings, out func(float64, ...string)) {
				p := f.Total.Homing
				out(p.Accepted, "estimate")
				out(p.Low, "low")
				out(p.High, "high")
			},
		},
		{
			"homing_observe_ticket_keys", "Ticket keys that are known.", gauge, nil,
			func(f *judge.Findings, out func(float64, ...string)) { out(float64(len(f.Keys))) },
		},
		{
			"homing_observe_hellos_total", "ClientHellos.", counter, nil,
			func(f *judge.Findings, out func(float64, ...string)) { out(float64(f.Hellos.Count)) },
		},
		{
			"homing_observe_unjudged_total", "Conns that were not seen to the end of their handshake, by why.", counter,
			[]string{"why"},
			func(f *judge.Findings, out func(float64, ...string)) {
				for why, n := range f.Unjudged.Why {
					out(float64(n), why)
				}
			},
		},
		{
			"homing_observe_packets_total", "Packets read.", counter, nil,
			func(f *judge.Findings, out func(float64, ...string)) { out(float64(f.Capture.Packets)) },
		},
		{
			"homing_observe_dropped_packets_total", "Packets that the kernel dropped.", counter, nil,
			func(f *judge.Findings, out func(float64, ...string)) { out(float64(f.Capture.Dropped)) },
		},
	}
}

// Collector gives metrics of the findings that look returns, which is called once for each scrape.
func Collector(look func() *judge.Findings) prometheus.Collector {
	c := &collector{look: look, metrics: metrics()}
	for i := range c.metrics {
		m := &c.metrics[i]
		c.descs = append(c.descs, prometheus.NewDesc(m.name, m.help, m.labels, nil))
	}
	return c
}

type collector struct {
	look    func() *judge.Findings
	metrics []metric
	descs   []*prometheus.Desc
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	f := c.look()
	for i := range c.metrics {
		m := &c.metrics[i]
		m.read(f, func(v float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(c.descs[i], m.kind, v, labels...)
		})
	}
}

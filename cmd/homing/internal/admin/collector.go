package admin

import (
	"fmt"
	"io"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/health"
)

// sample is one look at everything, shared by all metrics of a scrape so that they agree.
type sample struct {
	src      *Source
	balancer balancer.Stats
	affinity affinity.Stats
	cluster  *Cluster // nil without a cluster
	probe    []health.Findings
}

// emit sends one value; labels are in the order of metric.labels.
type emit func(value float64, labels ...string)

// metric is one row of the table: all there is to say of a metric, and how to read it.
type metric struct {
	name   string
	kind   prometheus.ValueType
	labels []string
	help   string
	read   func(s *sample, out emit)
}

// histogram is one row of the table of those metrics that are histograms.
type histogram struct {
	name   string
	labels []string
	help   string
	read   func(s *sample, out emitTimes)
}

// emitTimes sends one histogram; labels are in the order of histogram.labels.
type emitTimes func(times *balancer.Histogram, labels ...string)

type collector struct {
	src        Source
	metrics    []metric
	histograms []histogram
	descs      []*prometheus.Desc // of metrics, then of histograms
}

func newCollector(src Source) *collector {
	c := &collector{src: src, metrics: table(), histograms: histograms()}
	for _, m := range c.metrics {
		c.descs = append(c.descs, prometheus.NewDesc(m.name, m.help, m.labels, nil))
	}
	for _, h := range c.histograms {
		c.descs = append(c.descs, prometheus.NewDesc(h.name, h.help, h.labels, nil))
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := &sample{src: &c.src, balancer: c.src.Stats(), affinity: c.src.Affinity(), probe: c.src.Probe()}
	if c.src.Cluster != nil {
		known := c.src.Cluster()
		s.cluster = &known
	}
	for i, m := range c.metrics {
		m.read(s, func(value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(c.descs[i], m.kind, value, labels...)
		})
	}
	for i, h := range c.histograms {
		h.read(s, func(times *balancer.Histogram, labels ...string) {
			count, below := cumulated(times)
			ch <- prometheus.MustNewConstHistogram(c.descs[len(c.metrics)+i], count, times.Sum.Seconds(), below, labels...)
		})
	}
}

// cumulated is how many times there are, and how many are not above each bound, in seconds.
func cumulated(times *balancer.Histogram) (count uint64, below map[float64]uint64) {
	below = make(map[float64]uint64, balancer.NumTimes)
	for i, n := range times.Counts {
		count += n
		if i < balancer.NumTimes {
			below[balancer.TimeBound(i).Seconds()] = count
		}
	}
	return count, below
}

// WriteTable writes the metrics of homing's own, one per line: name, type, labels, meaning. Those of the Go runtime and
// of the process (go_*, process_*) are Prometheus' usual ones.
func WriteTable(w io.Writer) error {
	row := func(name, kind string, labels []string, help string) error {
		list := "-"
		if len(labels) > 0 {
			list = strings.Join(labels, ",")
		}
		_, err := fmt.Fprintf(w, "%-42s %-9s %-14s %s\n", name, kind, list, help)
		return err
	}
	for _, m := range table() {
		kind := "gauge"
		if m.kind == prometheus.CounterValue {
			kind = "counter"
		}
		if err := row(m.name, kind, m.labels, m.help); err != nil {
			return err
		}
	}
	for _, h := range histograms() {
		if err := row(h.name, "histogram", h.labels, h.help); err != nil {
			return err
		}
	}
	return nil
}

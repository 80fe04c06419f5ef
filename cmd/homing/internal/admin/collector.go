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

type collector struct {
	src     Source
	metrics []metric
	descs   []*prometheus.Desc
}

func newCollector(src Source) *collector {
	c := &collector{src: src, metrics: table()}
	for _, m := range c.metrics {
		c.descs = append(c.descs, prometheus.NewDesc(m.name, m.help, m.labels, nil))
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
}

// WriteTable writes the metrics of homing's own, one per line: name, type, labels, meaning. Those of the Go runtime and
// of the process (go_*, process_*) are Prometheus' usual ones.
func WriteTable(w io.Writer) error {
	for _, m := range table() {
		kind := "gauge"
		if m.kind == prometheus.CounterValue {
			kind = "counter"
		}
		labels := "-"
		if len(m.labels) > 0 {
			labels = strings.Join(m.labels, ",")
		}
		if _, err := fmt.Fprintf(w, "%-42s %-8s %-14s %s\n", m.name, kind, labels, m.help); err != nil {
			return err
		}
	}
	return nil
}

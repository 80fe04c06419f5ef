package admin

import (
	"fmt"
	"io"
	"iter"
	"slices"
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

// metric is one row of the table: all there is to say of a metric, and how to read it.
type metric struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
	read       func(s *sample, out emit)
	times      func(s *sample, out visitor[balancer.Histogram]) // of a histogram, instead of read
}

const (
	counters = prometheus.CounterValue
	gauges   = prometheus.GaugeValue
)

// emit sends one value; labels are in the order of metric.labels.
type emit func(value float64, labels ...string)

// words sends a number for each word, with labels before it.
func (out emit) words(all iter.Seq2[string, uint64], labels ...string) {
	for word, n := range all {
		out(float64(n), append(slices.Clip(labels), word)...)
	}
}

// words are those of an enumeration from first on, and what was counted of each.
func words[E interface {
	~uint8
	fmt.Stringer
}](first E, counts []uint64) iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		for e := first; int(e) < len(counts); e++ {
			if !yield(e.String(), counts[e]) {
				return
			}
		}
	}
}

// things are what some metrics are of, each with its labels.
type things[T any] struct {
	labels []string
	visit  func(s *sample, each visitor[T])
}

type visitor[T any] = func(thing *T, labels ...string)

// number is what can be counted.
type number interface{ int | int64 | uint64 | float64 }

func gauge[T any, N number](of things[T], name string, value func(*T) N, help string) metric {
	return several(gauges, of, name, "", func(thing *T, out emit) { out(float64(value(thing))) }, help)
}

func counter[T any, N number](of things[T], name string, value func(*T) N, help string) metric {
	return several(counters, of, name, "", func(thing *T, out emit) { out(float64(value(thing))) }, help)
}

// several is a metric that has any number of values for each thing, told apart by a further label. label is empty where
// there is one value at most.
func several[T any](
	kind prometheus.ValueType, of things[T], name, label string, read func(*T, emit), help string,
) metric {
	labels := of.labels
	if label != "" {
		labels = slices.Concat(labels, []string{label})
	}
	return metric{name: name, help: help, kind: kind, labels: labels, read: func(s *sample, out emit) {
		of.visit(s, func(thing *T, labels ...string) {
			read(thing, func(value float64, more ...string) { out(value, slices.Concat(labels, more)...) })
		})
	}}
}

// byWord is a counter for each of some words, from the first on, which are the last label.
func byWord[T any, E interface {
	~uint8
	fmt.Stringer
}](of things[T], name, label string, first E, counts func(*T) []uint64, help string) metric {
	return several(counters, of, name, label, func(thing *T, out emit) { out.words(words(first, counts(thing))) }, help)
}

func histogram[T any](of things[T], name string, times func(*T) *balancer.Histogram, help string) metric {
	return metric{name: name, help: help, labels: of.labels, times: func(s *sample, out visitor[balancer.Histogram]) {
		of.visit(s, func(thing *T, labels ...string) { out(times(thing), labels...) })
	}}
}

type collector struct {
	src     Source
	metrics []metric
	descs   []*prometheus.Desc // of metrics
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
		if m.times != nil {
			m.times(s, func(times *balancer.Histogram, labels ...string) {
				count, below := cumulated(times)
				ch <- prometheus.MustNewConstHistogram(c.descs[i], count, times.Sum.Seconds(), below, labels...)
			})
			continue
		}
		m.read(s, func(value float64, labels ...string) {
			ch <- prometheus.MustNewConstMetric(c.descs[i], m.kind, value, labels...)
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
	for _, m := range table() {
		kind, labels := "gauge", "-"
		switch {
		case m.times != nil:
			kind = "histogram"
		case m.kind == counters:
			kind = "counter"
		}
		if len(m.labels) > 0 {
			labels = strings.Join(m.labels, ",")
		}
		if _, err := fmt.Fprintf(w, "%-42s %-9s %-14s %s\n", m.name, kind, labels, m.help); err != nil {
			return err
		}
	}
	return nil
}

func bit(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

package bench

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

func TestHistogramSurvivesJSON(t *testing.T) {
	h := NewHistogram()
	for i := range 1000 {
		h.Record(time.Duration(i+1) * time.Millisecond)
	}
	h.Record(-time.Second) // counts as the shortest
	h.Record(time.Hour)    // and this as the longest
	b, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	var back Histogram
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if back.Count() != 1002 || back.Quantile(0.5) != h.Quantile(0.5) || back.Max() != h.Max() || back.Mean() != h.Mean() {
		t.Errorf("%s came back as %d values, median %v, greatest %v", b, back.Count(), back.Quantile(0.5), back.Max())
	}
	if m := back.Quantile(0.5); m < 499*time.Millisecond || m > 503*time.Millisecond {
		t.Errorf("median of 1 to 1000 ms: %v", m)
	}
	if m := back.Max(); m < 2*time.Minute || m > 121*time.Second {
		t.Errorf("an hour counts as %v", m)
	}
	sum := NewHistogram()
	sum.Merge(&back)
	sum.Merge(&back)
	sum.Merge(nil)
	if sum.Count() != 2004 {
		t.Errorf("merged: %d values", sum.Count())
	}
	for _, bad := range []string{`{}`, `{"count":5,"hdr":"` + "x" + `"}`, `3`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was taken for a histogram", bad)
		}
	}
	var lie map[string]any
	if err := json.Unmarshal(b, &lie); err != nil {
		t.Fatal(err)
	}
	lie["count"] = 7
	if b, err = json.Marshal(lie); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &back); err == nil {
		t.Error("a histogram whose summary lies was taken")
	}
}

func TestNoHistogramIsEmpty(t *testing.T) {
	var h *Histogram
	if h.Count() != 0 || h.Quantile(0.5) != 0 || h.Mean() != 0 || h.Max() != 0 {
		t.Error("nil holds something")
	}
}

func TestRecorderMerges(t *testing.T) {
	a, b := newRecorder(2, time.Second, 250*time.Millisecond), newRecorder(2, time.Second, 250*time.Millisecond)
	for i, r := range []*recorder{a, b} {
		g := &r.groups[1]
		g.Attempts, g.Accepted, g.Refused = 10, 3, int64(i)
		g.fail(Reset, 2)
		g.answeredBy("x", BackendTally{Conns: 5, Accepted: 3})
		record(&g.Answer, time.Millisecond)
		r.tick(time.Second).Done++
		r.tick(time.Second+249*time.Millisecond).Errors++
		if r.tick(999*time.Millisecond) != nil || r.tick(1300*time.Millisecond) != nil {
			t.Error("a tick outside the timeline")
		}
	}
	a.merge(b)
	g := &a.groups[1]
	want := Tally{
		Attempts: 20, Accepted: 6, Refused: 1, Errors: map[Class]int64{Reset: 4},
		Backends: map[string]BackendTally{"x": {Conns: 10, Accepted: 6}},
	}
	if !reflect.DeepEqual(g.Tally, want) || g.Answer.Count() != 2 || g.Full != nil || g.Failed() != 4 {
		t.Errorf("%+v", g)
	}
	if share, ok := g.Share(); !ok || share != 6.0/7 {
		t.Errorf("share %v, %v", share, ok)
	}
	if _, ok := a.groups[0].Share(); ok {
		t.Error("a share of nothing")
	}
	if !reflect.DeepEqual(a.timeline, []Tick{{Done: 2}, {}, {Errors: 2}}) {
		t.Errorf("%+v", a.timeline)
	}
}

// Every counter must take part in Add: a field that is forgotten would vanish from every result.
func TestTallyAddsEveryField(t *testing.T) {
	var one, sum Tally
	v := reflect.ValueOf(&one).Elem()
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.Int64 {
			v.Field(i).SetInt(int64(i + 1))
		}
	}
	one.fail(Other, 1)
	one.answeredBy("", BackendTally{1, 2, 3})
	sum.Add(&one)
	if !reflect.DeepEqual(sum, one) {
		t.Errorf("%+v, want %+v", sum, one)
	}
	var l, m Latency
	w := reflect.ValueOf(&l).Elem()
	for _, field := range w.Fields() {
		h := NewHistogram()
		h.Record(time.Second)
		field.Set(reflect.ValueOf(h))
	}
	m.Merge(&l)
	for field, v := range reflect.ValueOf(m).Fields() {
		if h, ok := reflect.TypeAssert[*Histogram](v); !ok || h.Count() != 1 {
			t.Errorf("%s was not merged", field.Name)
		}
	}
}

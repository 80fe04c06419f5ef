//go:build linux

package balancer

import (
	"reflect"
	"testing"
	"time"
)

// TestHistogram: a time is in the bucket whose bound is the first that is not below it.
func TestHistogram(t *testing.T) {
	for _, d := range []time.Duration{
		-1, 0, 1, leastTime - 1, leastTime, leastTime + 1, 2 * leastTime, 2*leastTime + 1, time.Millisecond, time.Second, 8192 * time.Millisecond,
		8192*time.Millisecond + 1, time.Hour,
	} {
		var h Histogram
		h.count(d)
		want := 0
		for want < NumTimes && d > TimeBound(want) {
			want++
		}
		if h.Counts[want] != 1 || h.Sum != max(d, 0) {
			t.Errorf("%v: %v with a sum of %v, want it in bucket %d", d, h.Counts, h.Sum, want)
		}
	}
	if last := TimeBound(NumTimes - 1); last != 8192*time.Millisecond {
		t.Errorf("the last bound is %v", last)
	}
	var h Histogram
	if n := testing.AllocsPerRun(100, func() { h.count(time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestCountsAreSummed: of what is counted by listener and by pool every field is in the sum, and is a word of 64 bits.
func TestCountsAreSummed(t *testing.T) {
	var one, all PoolCounts
	n := fillCounts(t, reflect.ValueOf(&one).Elem(), 0)
	add(&all, &one)
	add(&all, &one)
	if got := sumCounts(reflect.ValueOf(all)); got != n*(n+1) { // twice 1 + 2 + ... + n
		t.Errorf("%d of %d", got, n*(n+1))
	}
	var listener, listeners ListenerCounts
	n = fillCounts(t, reflect.ValueOf(&listener).Elem(), 0)
	add(&listeners, &listener)
	if got := sumCounts(reflect.ValueOf(listeners)); got != n*(n+1)/2 {
		t.Errorf("%d of %d", got, n*(n+1)/2)
	}
	// add reads atomically, which a machine of 32 bits can only at multiples of eight bytes: where an allocation begins.
	for _, of := range []any{ListenerStats{}, PoolStats{}} {
		if first := reflect.TypeOf(of).Field(0); !first.Anonymous {
			t.Errorf("%T begins with %s, want its counts", of, first.Name)
		}
	}
}

// fillCounts sets each counter in v to the next number, from n, and returns the last.
func fillCounts(t *testing.T, v reflect.Value, n int) int {
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			n = fillCounts(t, field, n)
		}
	case reflect.Array:
		for i := range v.Len() {
			n = fillCounts(t, v.Index(i), n)
		}
	case reflect.Uint64:
		n++
		v.SetUint(uint64(n))
	case reflect.Int64:
		n++
		v.SetInt(int64(n))
	default:
		t.Fatalf("a counter is a %v", v.Type())
	}
	return n
}

func sumCounts(v reflect.Value) (sum int) {
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			sum += sumCounts(field)
		}
	case reflect.Array:
		for i := range v.Len() {
			sum += sumCounts(v.Index(i))
		}
	case reflect.Uint64:
		return int(v.Uint())
	default:
		return int(v.Int())
	}
	return sum
}

func BenchmarkPoolCounts(b *testing.B) {
	var to, from PoolCounts
	for b.Loop() {
		add(&to, &from)
	}
}

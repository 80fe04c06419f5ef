package admin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"homing/balancer"
	"homing/balancer/health"
	"homing/balancer/pool"
)

// BenchmarkStatus: what a page costs that asks every second, with 200 backends, without the way over the net.
func BenchmarkStatus(b *testing.B) {
	src := manySource(b, 200)
	for _, path := range []string{"/v1/status", "/metrics", "/v1/history", "/v1/history?after=149", "/v1/ticket-keys"} {
		b.Run(path, func(b *testing.B) {
			s := serverOf(b, src)
			now := time.Unix(1_800_000_000, 0)
			for range historySamples {
				s.keeper.look(now)
				now = now.Add(sampleEvery)
			}
			handler := s.Handler()
			b.ReportAllocs()
			var size int
			for b.Loop() {
				w := httptest.NewRecorder()
				handler.ServeHTTP(w, httptest.NewRequestWithContext(b.Context(), http.MethodGet, path, nil))
				if w.Code != http.StatusOK {
					b.Fatal(w.Code, w.Body)
				}
				size = w.Body.Len()
			}
			b.ReportMetric(float64(size), "bytes/answer")
		})
	}
}

// BenchmarkLook: what a node takes every second to know how 200 backends fare.
func BenchmarkLook(b *testing.B) {
	src := manySource(b, 200)
	s := serverOf(b, src)
	now := time.Unix(1_800_000_000, 0)
	b.ReportAllocs()
	for b.Loop() {
		s.keeper.look(now)
		s.keeper.seeKeys()
		now = now.Add(lookEvery)
	}
}

// manySource is a node of one pool of n backends.
func manySource(tb testing.TB, n int) Source {
	tb.Helper()
	specs := make([]pool.Spec, n)
	for i := range specs {
		specs[i].Addr = fmt.Sprintf("192.0.%d.%d:443", 2+i/250, 1+i%250)
	}
	p, err := pool.New("default", specs, pool.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	src := source(tb)
	src.Store = storeOf(tb, p)
	src.Pools = func() []*pool.Pool { return []*pool.Pool{p} }
	src.Stats = func() balancer.Stats { return balancer.Stats{} }
	src.Probe = func() []health.Findings { return nil }
	return src
}

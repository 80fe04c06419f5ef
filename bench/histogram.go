package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Histograms hold microseconds from 1 us to 2 min with three significant digits; what is longer counts as 2 min.
const (
	lowestMicros  = 1
	highestMicros = int64(2 * time.Minute / time.Microsecond)
	digits        = 3
)

// Histogram is an HDR histogram of microseconds. Its JSON holds a summary to read and the counts, in HdrHistogram's own
// compressed form (V2, base64), to merge and draw.
type Histogram struct{ hdr *hdrhistogram.Histogram }

// NewHistogram returns an empty histogram.
func NewHistogram() *Histogram {
	return &Histogram{hdr: hdrhistogram.New(lowestMicros, highestMicros, digits)}
}

// Record adds one latency.
func (h *Histogram) Record(d time.Duration) {
	us := min(max(d.Microseconds(), lowestMicros), highestMicros)
	_ = h.hdr.RecordValue(us) // within the range, so it cannot fail
}

// Merge adds what another histogram holds; nil holds nothing.
func (h *Histogram) Merge(o *Histogram) {
	if o != nil {
		h.hdr.Merge(o.hdr) // of the same range, so nothing is dropped
	}
}

// Count is the number of latencies; 0 for nil.
func (h *Histogram) Count() int64 {
	if h == nil {
		return 0
	}
	return h.hdr.TotalCount()
}

// Quantile returns the latency that the given part of all, 0 to 1, does not exceed; 0 without any.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.hdr.ValueAtQuantile(100*q)) * time.Microsecond
}

// Mean is the mean latency; 0 without any.
func (h *Histogram) Mean() time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.hdr.Mean() * float64(time.Microsecond))
}

// Max is the greatest latency, to three digits; 0 without any.
func (h *Histogram) Max() time.Duration {
	if h.Count() == 0 {
		return 0
	}
	return time.Duration(h.hdr.Max()) * time.Microsecond
}

// histogramJSON is a Histogram on disk. All but HDR is for readers.
type histogramJSON struct {
	Count int64  `json:"count"`
	Mean  int64  `json:"mean_us"`
	P50   int64  `json:"p50_us"`
	P90   int64  `json:"p90_us"`
	P99   int64  `json:"p99_us"`
	P999  int64  `json:"p999_us"`
	Max   int64  `json:"max_us"`
	HDR   string `json:"hdr"`
}

// MarshalJSON is of json.Marshaler.
func (h *Histogram) MarshalJSON() ([]byte, error) {
	encoded, err := h.hdr.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("bench: encode histogram: %w", err)
	}
	return json.Marshal(histogramJSON{
		Count: h.Count(), Mean: h.Mean().Microseconds(), P50: h.Quantile(0.5).Microseconds(), P90: h.Quantile(0.9).Microseconds(),
		P99: h.Quantile(0.99).Microseconds(), P999: h.Quantile(0.999).Microseconds(), Max: h.Max().Microseconds(), HDR: string(encoded),
	})
}

// UnmarshalJSON is of json.Unmarshaler.
func (h *Histogram) UnmarshalJSON(b []byte) error {
	var v histogramJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	hdr, err := hdrhistogram.Decode([]byte(v.HDR))
	if err != nil {
		return fmt.Errorf("bench: decode histogram: %w", err)
	}
	if hdr.TotalCount() != v.Count {
		return errors.New("bench: decode histogram: the counts do not add up to what the summary says")
	}
	h.hdr = hdr
	return nil
}

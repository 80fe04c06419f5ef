package value

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestDurationValue(t *testing.T) {
	for _, tt := range []struct {
		why, in, zero string
		want          time.Duration
		wantErr       string
	}{
		{why: "a duration with its unit", in: "1500ms", want: 1500 * time.Millisecond},
		{why: "the least", in: "1s", want: time.Second},
		{why: "the most", in: "1h", want: time.Hour},
		{why: "zero where it means off", in: "0", zero: ZeroItself, want: 0},
		{why: "zero where it means nothing", in: "0", wantErr: "out of bounds: give 1s to 1h"},
		{why: "a plain number", in: "30", wantErr: "not a duration"},
		{why: "too much", in: "1h1ns", wantErr: "out of bounds"},
		{why: "negative", in: "-1s", zero: ZeroItself, wantErr: "out of bounds"},
	} {
		got := time.Duration(-1)
		err := Duration{P: &got, Min: time.Second, Max: time.Hour, Zero: tt.zero}.Set(tt.in)
		if !matches(err, tt.wantErr) {
			t.Errorf("%s: %q: error %v, want %q", tt.why, tt.in, err, tt.wantErr)
		} else if err == nil && got != tt.want {
			t.Errorf("%s: %q: %v, want %v", tt.why, tt.in, got, tt.want)
		} else if err != nil && got != -1 {
			t.Errorf("%s: %q: refused, but the value changed to %v", tt.why, tt.in, got)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for in, want := range map[time.Duration]string{
		0:                                 "0s",
		time.Millisecond:                  "1ms",
		30 * time.Second:                  "30s",
		90 * time.Second:                  "1m30s",
		10 * time.Minute:                  "10m",
		10 * time.Hour:                    "10h",
		10*time.Hour + time.Second:        "10h0m1s",
		10*time.Hour + 10*time.Minute:     "10h10m",
		20*time.Minute + 10*time.Second:   "20m10s",
		100*time.Hour + 1*time.Nanosecond: "100h0m0.000000001s",
	} {
		if got := FormatDuration(in); got != want {
			t.Errorf("%d: %q, want %q", in, got, want)
		}
	}
}

func TestParseBytes(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want int64 // -1: refused
	}{
		{"0", 0},
		{"16384", 16384},
		{"16k", 16384},
		{"16KiB", 16384},
		{"16kib", 16384},
		{"256MiB", 256 << 20},
		{"1g", 1 << 30},
		{"12B", 12},
		{"8589934591GiB", 8589934591 << 30},
		{"8589934592GiB", -1}, // 2^63
		{"9223372036854775807", math.MaxInt64},
		{"9223372036854775808", -1},
		{"", -1},
		{"KiB", -1},
		{"-1", -1},
		{"1.5GiB", -1},
		{"16KB", -1}, // 16,000 or 16,384? Nobody knows
		{"16 KiB", -1},
		{"k16", -1},
	} {
		got, err := ParseBytes(tt.in)
		if (err != nil) != (tt.want < 0) || err == nil && got != tt.want {
			t.Errorf("%q: %d, %v, want %d", tt.in, got, err, tt.want)
		}
	}
}

func TestFormatBytes(t *testing.T) {
	for in, want := range map[int64]string{0: "0", 512: "512", 1024: "1KiB", 1536: "1536", 64 << 10: "64KiB", 3 << 20: "3MiB", 1 << 40: "1024GiB"} {
		got := FormatBytes(in)
		if got != want {
			t.Errorf("%d: %q, want %q", in, got, want)
		}
		if back, err := ParseBytes(got); err != nil || back != in {
			t.Errorf("%q: reads back as %d, %v, want %d", got, back, err, in)
		}
	}
}

func TestAutoValue(t *testing.T) {
	n := 7
	value := Int{P: &n, Min: 1, Max: 9, Zero: "auto"}
	for in, want := range map[string]int{"auto": 0, "1": 1, "9": 9} {
		if err := value.Set(in); err != nil || n != want || value.String() != in {
			t.Errorf("%q: %d, written %q, %v, want %d", in, n, value, err, want)
		}
	}
	for _, in := range []string{"", "0", "10", "Auto", "1.5"} {
		if err := value.Set(in); !matches(err, "or auto") {
			t.Errorf("%q: error %v, want one that offers auto", in, err)
		}
	}
}

// TestOff: where zero is the owner's default, what is off is kept as another number, and written as zero.
func TestOff(t *testing.T) {
	n := 7
	value := Int{P: &n, Min: 0, Max: 9, Off: -1}
	for _, in := range []string{"0", "3"} {
		if err := value.Set(in); err != nil || value.String() != in || (n == -1) != (in == "0") {
			t.Errorf("%s: kept as %d, written %s, %v", in, n, value, err)
		}
	}
	if err := value.Set("-1"); !matches(err, "out of bounds: give 0 to 9") {
		t.Errorf("-1: error %v", err)
	}
}

func TestRatioValue(t *testing.T) {
	f := 1.5
	value := Ratio{P: &f, Min: 1, Max: 1000}
	if err := value.Set("2.25"); err != nil || f != 2.25 || value.String() != "2.25" {
		t.Errorf("2.25: %v, written %q, %v", f, value, err)
	}
	for _, in := range []string{"", "0.99", "1001", "NaN", "+Inf", "1,5"} {
		if err := value.Set(in); !matches(err, "not in bounds: give a number from 1 to 1000") {
			t.Errorf("%q: error %v", in, err)
		}
	}
}

// matches says whether err is what a test wants: nil for "", else an error that contains it.
func matches(err error, want string) bool {
	if want == "" || err == nil {
		return want == "" && err == nil
	}
	return strings.Contains(err.Error(), want)
}

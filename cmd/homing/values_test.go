//go:build linux

package main

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"homing/balancer/pool"
)

func TestDurationValue(t *testing.T) {
	for _, tt := range []struct {
		why, in, zeroIs string
		want            time.Duration
		wantErr         string
	}{
		{why: "a duration with its unit", in: "1500ms", want: 1500 * time.Millisecond},
		{why: "the least", in: "1s", want: time.Second},
		{why: "the most", in: "1h", want: time.Hour},
		{why: "zero where it means off", in: "0", zeroIs: "off", want: 0},
		{why: "zero where it means nothing", in: "0", wantErr: "out of bounds: give 1s to 1h"},
		{why: "a plain number", in: "30", wantErr: "not a duration"},
		{why: "too much", in: "1h1ns", wantErr: "out of bounds"},
		{why: "negative", in: "-1s", zeroIs: "off", wantErr: "out of bounds"},
	} {
		got := time.Duration(-1)
		err := durationValue{&got, time.Second, time.Hour, tt.zeroIs}.Set(tt.in)
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
		if got := formatDuration(in); got != want {
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
		got, err := parseBytes(tt.in)
		if (err != nil) != (tt.want < 0) || err == nil && got != tt.want {
			t.Errorf("%q: %d, %v, want %d", tt.in, got, err, tt.want)
		}
	}
}

func TestFormatBytes(t *testing.T) {
	for in, want := range map[int64]string{0: "0", 512: "512", 1024: "1KiB", 1536: "1536", 64 << 10: "64KiB", 3 << 20: "3MiB", 1 << 40: "1024GiB"} {
		got := formatBytes(in)
		if got != want {
			t.Errorf("%d: %q, want %q", in, got, want)
		}
		if back, err := parseBytes(got); err != nil || back != in {
			t.Errorf("%q: reads back as %d, %v, want %d", got, back, err, in)
		}
	}
}

func TestAutoValue(t *testing.T) {
	n := 7
	value := autoValue{intValue{&n, 1, 9}}
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

func TestRatioValue(t *testing.T) {
	f := 1.5
	value := ratioValue{&f, 1, 1000}
	if err := value.Set("2.25"); err != nil || f != 2.25 || value.String() != "2.25" {
		t.Errorf("2.25: %v, written %q, %v", f, value, err)
	}
	for _, in := range []string{"", "0.99", "1001", "NaN", "+Inf", "1,5"} {
		if err := value.Set(in); !matches(err, "not in bounds: give a number from 1 to 1000") {
			t.Errorf("%q: error %v", in, err)
		}
	}
}

func TestParseBackend(t *testing.T) {
	for _, tt := range []struct {
		in      string
		want    pool.Spec
		wantErr string
	}{
		{in: "192.0.2.7:443", want: pool.Spec{Addr: "192.0.2.7:443", Weight: 1}},
		{in: "[2001:db8::7]:443,weight=1000", want: pool.Spec{Addr: "[2001:db8::7]:443", Weight: 1000}},
		{in: "name:443,max-conns=5,weight=2", want: pool.Spec{Addr: "name:443", Weight: 2, MaxConns: 5}},
		{in: "", wantErr: "not an address with a port"},
		{in: "2001:db8::7:443", wantErr: "not an address with a port"},
		{in: ":443", wantErr: "not an address with a port"},
		{in: "name:https", wantErr: `the port "https" is not a number from 1 to 65535`},
		{in: "name:0", wantErr: "the port"},
		{in: "name:443,weight=1001", wantErr: "weight is out of bounds: give 1 to 1000"},
		{in: "name:443,weight", wantErr: "weight is not a whole number"},
		{in: "name:443,max-conns=0", wantErr: "max-conns is out of bounds"},
		{in: "name:443,", wantErr: `"" is not known`},
		{in: "name:443,backup", wantErr: `"backup" is not known: a backend takes weight=N and max-conns=N`},
	} {
		got, err := parseBackend(tt.in)
		if !matches(err, tt.wantErr) {
			t.Errorf("%q: error %v, want %q", tt.in, err, tt.wantErr)
		} else if diff := cmp.Diff(tt.want, got); err == nil && diff != "" {
			t.Errorf("%q (-want +got):\n%s", tt.in, diff)
		}
	}
}

// TestFlagTable holds for every flag: it is explained, its default is one that it would accept, and a parser that is
// given the default changes nothing.
func TestFlagTable(t *testing.T) {
	o, a := defaultOptions(), defaultAgentOptions()
	for name, table := range map[string][]flagGroup{"run": flagTable(o), "agent": agentFlagTable(a)} {
		flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
		bind(flags, table)
		flags.VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("--%s: the meaning %q is missing or ends with a stop", f.Name, f.Usage)
			}
			if strings.Contains(f.Usage, "\n") {
				t.Errorf("--%s: the meaning has several lines", f.Name)
			}
			if f.DefValue == "" {
				return // none: the lists, and --admin
			}
			if err := flags.Set(f.Name, f.DefValue); err != nil {
				t.Errorf("--%s: the default %q is refused: %v", f.Name, f.DefValue, err)
			}
		})
	}
	opaque := cmp.Options{
		cmp.AllowUnexported(options{}, nodeOptions{}, clusterOptions{}, agentOptions{}),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	}
	if diff := cmp.Diff(defaultOptions(), o, opaque); diff != "" {
		t.Errorf("setting the defaults of run changed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(defaultAgentOptions(), a, opaque); diff != "" {
		t.Errorf("setting the defaults of agent changed (-want +got):\n%s", diff)
	}
}

// TestFlagTableZero finds flags whose zero has a meaning that the help keeps to itself.
func TestFlagTableZero(t *testing.T) {
	for _, group := range slices.Concat(flagTable(defaultOptions()), agentFlagTable(defaultAgentOptions())) {
		for _, row := range group.rows {
			value, ok := row.value.(durationValue)
			if ok && (value.zeroIs != "") != strings.Contains(row.doc, "0: ") {
				t.Errorf("--%s: zero means %q, its meaning says %q", row.name, value.zeroIs, row.doc)
			}
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

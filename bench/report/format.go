package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// none stands where there is no figure.
const none = "-"

// Text returns a stat in the measure's unit, with the spread where there is one: "412 us ± 2 %".
func (m Measure) Text(s Stat) string {
	if !s.OK() {
		return none
	}
	text := m.format(s.Median)
	if spread := s.Spread(); !math.IsNaN(spread) && spread >= 0.005 && m.Key != mFailed {
		text += " ±" + strconv.FormatFloat(100*spread, 'f', 0, 64) + "%"
	}
	return text
}

// Text returns a comparison in one or two words: "0.31 x", "equal".
func (r Ratio) Text() string {
	switch r.Verdict {
	case Equal:
		return "equal"
	case Less, More:
		return factor(r.Median) + " x"
	case Unknown:
		if r.OK() {
			return "(" + factor(r.Median) + " x)" // one round: its spread is not known
		}
		return none
	}
	return none
}

func factor(v float64) string {
	switch {
	case v >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

// percent never rounds up to 100, nor down to 0.
func percent(v float64) string {
	p := 100 * v
	switch {
	case p < 100 && p >= 99.95:
		p = 99.9
	case p > 0 && p < 0.05:
		p = 0.1
	}
	return strconv.FormatFloat(p, 'f', 1, 64) + " %"
}

func count(v float64) string { return thousands(int64(math.Round(v))) }

func micros(v float64) string { return rounded(v) + " us" }
func millis(v float64) string { return rounded(v) + " ms" }

// rounded has a digit behind the point between -10 and 10.
func rounded(v float64) string {
	if math.Abs(v) < 10 {
		return tenths(v)
	}
	return count(v)
}

func tenths(v float64) string { return strconv.FormatFloat(v, 'f', 1, 64) }

// latency takes nanoseconds.
func latency(v float64) string {
	ms := v / float64(time.Millisecond)
	switch {
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 2, 64) + " ms"
	case ms < 100:
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	default:
		return thousands(int64(math.Round(ms))) + " ms"
	}
}

func bytesText(v float64) string {
	switch a := math.Abs(v); {
	case a < 1e4:
		return count(v) + " B"
	case a < 1e6:
		return strconv.FormatFloat(v/1e3, 'f', 1, 64) + " kB"
	case a < 1e9:
		return strconv.FormatFloat(v/1e6, 'f', 1, 64) + " MB"
	default:
		return strconv.FormatFloat(v/1e9, 'f', 1, 64) + " GB"
	}
}

// thousands groups digits: 12,345.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	var b strings.Builder
	for i, r := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(r)
	}
	return sign + b.String()
}

// span is a duration as people say it: "1.5 s", "7 min".
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
	case d < 2*time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + " s"
	default:
		return strconv.FormatFloat(math.Round(d.Minutes()*10)/10, 'f', -1, 64) + " min"
	}
}

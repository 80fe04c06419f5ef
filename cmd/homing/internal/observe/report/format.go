package report

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// count writes a number with a comma between thousands.
func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// round writes a number that is an estimate, with a comma between thousands.
func round(f float64) string { return count(uint64(max(math.Round(f), 0))) }

// percent writes a share, and neither all nor nothing where it is not quite that.
func percent(share float64) string {
	p := 100 * share
	switch {
	case p > 99.95 && p < 100:
		p = 99.9
	case p > 0 && p < 0.05:
		p = 0.1
	}
	s := strconv.FormatFloat(p, 'f', 1, 64)
	if n := len(s); s[n-2:] == ".0" {
		s = s[:n-2]
	}
	return s + " %"
}

// byteCount writes a number of bytes.
func byteCount(n float64) string {
	unit := 0
	for n >= 999.5 && unit < 4 {
		n /= 1000
		unit++
	}
	return fmt.Sprintf("%.3g %s", n, [...]string{"B", "kB", "MB", "GB", "TB"}[unit])
}

// seconds writes a time.
func seconds(s float64) string {
	switch {
	case s >= 60:
		return time.Duration(s * float64(time.Second)).Round(time.Second).String()
	case s >= 1:
		return fmt.Sprintf("%.3g s", s)
	case s >= 1e-3:
		return fmt.Sprintf("%.3g ms", s*1e3)
	}
	return fmt.Sprintf("%.3g us", s*1e6)
}

// when writes a time of the capture.
func when(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

// plural writes a number and what it counts.
func plural(n uint64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return count(n) + " " + many
}

package bench

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ParseMix reads kinds and their shares, as in "id=20,ticket=30,psk=50"; a kind alone has the share 1.
func ParseMix(s string) ([]GroupPlan, error) {
	var groups []GroupPlan
	for part := range strings.SplitSeq(s, ",") {
		kind, number, given := strings.Cut(strings.TrimSpace(part), "=")
		g := GroupPlan{Kind: Kind(kind), Share: 1}
		if !slices.Contains(Kinds(), g.Kind) {
			return nil, fmt.Errorf("%q is none of %s", kind, joinKinds())
		}
		if given {
			var err error
			if g.Share, err = strconv.ParseFloat(strings.TrimSuffix(number, "%"), 64); err != nil || !(g.Share > 0 && g.Share <= 1e6) {
				return nil, fmt.Errorf("%q is no share above 0", number)
			}
		}
		if slices.ContainsFunc(groups, func(o GroupPlan) bool { return o.Kind == g.Kind }) {
			return nil, fmt.Errorf("%s is given twice", kind)
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// Bounds of a Shape.
const (
	maxCut = 16 << 10 // bytes; a record holds no more, RFC 9846 section 5.1
	maxGap = time.Minute
)

// ParseShape reads the shape of a hello: words joined by "+", in any order. "plain" is a small hello in one piece,
// "browser" a large one; "records:N" cuts it into records of N bytes, "segments:N" into segments of N bytes, and
// "gap:DURATION" is the pause between them.
func ParseShape(s string) (Shape, error) {
	var shape Shape
	for word := range strings.SplitSeq(s, "+") {
		name, value, _ := strings.Cut(strings.TrimSpace(word), ":")
		var err error
		switch name {
		case "plain":
		case "browser":
			shape.Browser = true
		case "records":
			shape.RecordBytes, err = parseCut(value)
		case "segments":
			shape.SegmentBytes, err = parseCut(value)
		case "gap":
			shape.Gap, err = time.ParseDuration(value)
		default:
			err = fmt.Errorf("%q is none of plain, browser, records:N, segments:N, gap:DURATION", word)
		}
		if err != nil {
			return Shape{}, err
		}
	}
	return shape, shape.check()
}

func parseCut(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxCut {
		return 0, fmt.Errorf("%q is no number of bytes between 1 and %d", s, maxCut)
	}
	return n, nil
}

func (s *Shape) check() error {
	switch {
	case s.RecordBytes < 0 || s.RecordBytes > maxCut:
		return fmt.Errorf("records of %d bytes are not between 1 and %d", s.RecordBytes, maxCut)
	case s.SegmentBytes < 0 || s.SegmentBytes > maxCut:
		return fmt.Errorf("segments of %d bytes are not between 1 and %d", s.SegmentBytes, maxCut)
	case s.Gap < 0 || s.Gap > maxGap:
		return fmt.Errorf("a gap of %v is not between 0 and %v", s.Gap, maxGap)
	case s.Gap > 0 && s.SegmentBytes == 0:
		return fmt.Errorf("a gap of %v stands between segments: give segments:N too", s.Gap)
	}
	return nil
}

// String is the shape's name, or the words that ParseShape reads; empty for a plain one.
func (s Shape) String() string {
	if s.Name != "" {
		return s.Name
	}
	var words []string
	if s.Browser {
		words = append(words, "browser")
	}
	if s.RecordBytes > 0 {
		words = append(words, "records:"+strconv.Itoa(s.RecordBytes))
	}
	if s.SegmentBytes > 0 {
		words = append(words, "segments:"+strconv.Itoa(s.SegmentBytes))
	}
	if s.Gap > 0 {
		words = append(words, "gap:"+s.Gap.String())
	}
	return strings.Join(words, "+")
}

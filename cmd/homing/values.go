package main

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The values of flags. Each knows its bounds, so that a wrong one is refused by the parser with one message; each Set
// error reads as the end of `--flag "value": ...` and says what would be right.

type durationValue struct {
	p        *time.Duration
	min, max time.Duration
	zeroIs   string // what zero means; empty when zero is no exception to min
}

func (v durationValue) String() string { return formatDuration(*v.p) }
func (v durationValue) Type() string   { return "duration" }

func (v durationValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return errors.New("not a duration: write it with its unit, such as 500ms, 30s, 5m or 10h")
	}
	if d == 0 && v.zeroIs != "" {
		*v.p = 0
		return nil
	}
	if d < v.min || d > v.max {
		return fmt.Errorf("out of bounds: give %s to %s", formatDuration(v.min), formatDuration(v.max))
	}
	*v.p = d
	return nil
}

// formatDuration writes 10h where Duration.String writes 10h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

type intValue struct {
	p        *int
	min, max int
}

func (v intValue) String() string { return strconv.Itoa(*v.p) }
func (v intValue) Type() string   { return "number" }

func (v intValue) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil {
		return fmt.Errorf("not a whole number: give %d to %d", v.min, v.max)
	}
	if n < v.min || n > v.max {
		return fmt.Errorf("out of bounds: give %d to %d", v.min, v.max)
	}
	*v.p = n
	return nil
}

// autoValue is an int of which zero is written auto.
type autoValue struct{ intValue }

func (v autoValue) String() string {
	if *v.p == 0 {
		return "auto"
	}
	return v.intValue.String()
}

func (v autoValue) Set(s string) error {
	if s == "auto" {
		*v.p = 0
		return nil
	}
	if err := v.intValue.Set(s); err != nil {
		return fmt.Errorf("%w, or auto", err)
	}
	return nil
}

type ratioValue struct {
	p        *float64
	min, max float64
}

func (v ratioValue) String() string { return strconv.FormatFloat(*v.p, 'g', -1, 64) }
func (v ratioValue) Type() string   { return "ratio" }

func (v ratioValue) Set(s string) error {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || f < v.min || f > v.max {
		return fmt.Errorf("not in bounds: give a number from %g to %g", v.min, v.max)
	}
	*v.p = f
	return nil
}

type bytesValue struct {
	p        *int64
	min, max int64
}

func (v bytesValue) String() string { return formatBytes(*v.p) }
func (v bytesValue) Type() string   { return "bytes" }

func (v bytesValue) Set(s string) error {
	n, err := parseBytes(s)
	if err != nil {
		return err
	}
	if n < v.min || n > v.max {
		return fmt.Errorf("out of bounds: give %s to %s", formatBytes(v.min), formatBytes(v.max))
	}
	*v.p = n
	return nil
}

// parseBytes reads 65536, 64KiB, 64k and their like up to GiB. Every unit is a power of 1024.
func parseBytes(s string) (int64, error) {
	digits := strings.TrimRight(s, "kKmMgGiIbB")
	shift := map[string]uint{"": 0, "b": 0, "k": 10, "kib": 10, "m": 20, "mib": 20, "g": 30, "gib": 30}
	by, known := shift[strings.ToLower(s[len(digits):])]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !known || n < 0 || n > math.MaxInt64>>by {
		return 0, errors.New("not a number of bytes: write it such as 16384, 16KiB, 256MiB or 1GiB")
	}
	return n << by, nil
}

// formatBytes writes the largest unit that leaves a whole number.
func formatBytes(n int64) string {
	for _, unit := range []struct {
		shift uint
		name  string
	}{{30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n != 0 && n&(1<<unit.shift-1) == 0 {
			return strconv.FormatInt(n>>unit.shift, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// choice is one word of an enumValue.
type choice[T comparable] struct {
	word  string
	value T
}

// named is a choice whose word is what the value calls itself.
func named[T interface {
	comparable
	fmt.Stringer
}](value T) choice[T] {
	return choice[T]{value.String(), value}
}

type enumValue[T comparable] struct {
	p       *T
	choices []choice[T]
}

func (v enumValue[T]) String() string {
	i := slices.IndexFunc(v.choices, func(c choice[T]) bool { return c.value == *v.p })
	if i < 0 {
		return ""
	}
	return v.choices[i].word
}

func (v enumValue[T]) Type() string {
	words := make([]string, len(v.choices))
	for i, c := range v.choices {
		words[i] = c.word
	}
	return strings.Join(words, "|")
}

func (v enumValue[T]) Set(s string) error {
	for _, c := range v.choices {
		if c.word == s {
			*v.p = c.value
			return nil
		}
	}
	return errors.New("not known: give " + strings.ReplaceAll(v.Type(), "|", " or "))
}

type boolValue struct{ p *bool }

func (v boolValue) String() string { return strconv.FormatBool(*v.p) }
func (v boolValue) Type() string   { return "" }

func (v boolValue) Set(s string) error {
	b, err := strconv.ParseBool(s)
	if err != nil {
		return errors.New("neither true nor false")
	}
	*v.p = b
	return nil
}

// listValue collects what a repeatable flag is given, each parsed on its own.
type listValue[T any] struct {
	p     *[]T
	parse func(string) (T, error)
	kind  string
}

func (v listValue[T]) String() string { return "" }
func (v listValue[T]) Type() string   { return v.kind }

func (v listValue[T]) Set(s string) error {
	one, err := v.parse(s)
	if err != nil {
		return err
	}
	*v.p = append(*v.p, one)
	return nil
}

// stringValue is a string with its own check.
type stringValue struct {
	p     *string
	check func(string) error
	kind  string
}

func (v stringValue) String() string { return *v.p }
func (v stringValue) Type() string   { return v.kind }

func (v stringValue) Set(s string) error {
	if err := v.check(s); err != nil {
		return err
	}
	*v.p = s
	return nil
}

package value

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Value is where one setting is kept, how it is read and how it is written. Type is the word that stands for it in help.
// A Set error reads as the end of `"value": ...` and says what would be right; the setting is as before then.
type Value interface {
	pflag.Value
}

// List is a setting of several values: Set adds one.
type List interface {
	Value
	// Texts is what Set would need to be given, one by one, for the list of now.
	Texts() []string
	// Reset empties the list.
	Reset()
}

// Number is a number, a size or a time between bounds.
type Number[T int | uint16 | int64 | float64 | time.Duration] struct {
	P        *T
	Min, Max T
	// Zero is the word for zero, such as auto or none, or ZeroItself. Empty: zero is no exception to Min, and is written as
	// nothing where it is below.
	Zero string
	// Off is what zero is kept as, where its owner takes zero for the default.
	Off T
}

// ZeroItself is for a zero that is below Min, means something, and is written as the number that it is.
const ZeroItself = "0"

type (
	// Int is a whole number.
	Int = Number[int]
	// Port is a whole number of 16 bits.
	Port = Number[uint16]
	// Bytes is a size.
	Bytes = Number[int64]
	// Ratio is a number that need not be whole.
	Ratio = Number[float64]
	// Duration is a time.Duration, written with its unit.
	Duration = Number[time.Duration]
)

func (v Number[T]) String() string {
	n := *v.P
	if n == v.Off {
		n = 0
	}
	if n != 0 || v.Zero == ZeroItself || v.Zero == "" && v.Min <= 0 {
		return format(n)
	}
	return v.Zero
}

// Type implements Value.
func (v Number[T]) Type() string {
	switch any(v.P).(type) {
	case *time.Duration:
		return "duration"
	case *float64:
		return "ratio"
	case *int64:
		return "bytes"
	}
	return "number"
}

// Set implements Value.
func (v Number[T]) Set(s string) error {
	if s == v.Zero && s != ZeroItself && s != "" {
		*v.P = v.Off
		return nil
	}
	n, err := v.parse(s)
	switch {
	case err != nil:
	case n >= v.Min && n <= v.Max || n == 0 && v.Zero == ZeroItself:
		if n == 0 {
			n = v.Off
		}
		*v.P = n
		return nil
	default:
		err = v.outside()
	}
	if v.Zero != "" && v.Zero != ZeroItself {
		err = fmt.Errorf("%w, or %s", err, v.Zero)
	}
	return err
}

// parse reads a number, in bounds or not.
func (v Number[T]) parse(s string) (n T, err error) {
	switch p := any(&n).(type) {
	case *time.Duration:
		if *p, err = time.ParseDuration(s); err != nil {
			err = errors.New("not a duration: write it with its unit, such as 500ms, 30s, 5m or 10h")
		}
	case *float64:
		if *p, err = strconv.ParseFloat(s, 64); err != nil {
			err = v.outside()
		}
	case *int64:
		*p, err = ParseBytes(s)
	default:
		i, wrong := strconv.Atoi(s)
		if n = T(i); wrong != nil {
			err = fmt.Errorf("not a whole number: give %s to %s", format(v.Min), format(v.Max))
		} else if int(n) != i {
			err = v.outside()
		}
	}
	return n, err
}

func (v Number[T]) outside() error {
	give := "out of bounds: give"
	if v.Type() == "ratio" {
		give = "not in bounds: give a number from"
	}
	return fmt.Errorf("%s %s to %s", give, format(v.Min), format(v.Max))
}

// format writes a number as parse reads it.
func format(n any) string {
	switch n := n.(type) {
	case time.Duration:
		return FormatDuration(n)
	case int64:
		return FormatBytes(n)
	}
	return fmt.Sprint(n) // %v of a float64 is its shortest form
}

// FormatDuration writes 10h where Duration.String writes 10h0m0s.
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// ParseBytes reads 65536, 64KiB, 64k and their like up to GiB. Every unit is a power of 1024.
func ParseBytes(s string) (int64, error) {
	digits := strings.TrimRight(s, "kKmMgGiIbB")
	shift := map[string]uint{"": 0, "b": 0, "k": 10, "kib": 10, "m": 20, "mib": 20, "g": 30, "gib": 30}
	by, known := shift[strings.ToLower(s[len(digits):])]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !known || n < 0 || n > math.MaxInt64>>by {
		return 0, errors.New("not a number of bytes: write it such as 16384, 16KiB, 256MiB or 1GiB")
	}
	return n << by, nil
}

// FormatBytes writes the largest unit that leaves a whole number.
func FormatBytes(n int64) string {
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

// Enum is one of some words, each of which stands for the value at its place.
type Enum[T comparable] struct {
	P      *T
	Words  []string
	Values []T
}

// Words is an Enum of values that have names, which are written in lower case.
func Words[T interface {
	comparable
	fmt.Stringer
}](p *T, all ...T) Enum[T] {
	v := Enum[T]{P: p, Values: all}
	for _, is := range all {
		v.Words = append(v.Words, strings.ToLower(is.String()))
	}
	return v
}

func (v Enum[T]) String() string {
	if i := slices.Index(v.Values, *v.P); i >= 0 {
		return v.Words[i]
	}
	return ""
}

// Type implements Value.
func (v Enum[T]) Type() string { return strings.Join(v.Words, "|") }

// Set implements Value.
func (v Enum[T]) Set(s string) error {
	i := slices.Index(v.Words, s)
	if i < 0 {
		return errors.New("not known: give " + strings.Join(v.Words, " or "))
	}
	*v.P = v.Values[i]
	return nil
}

// Bool is a switch. Worded, it is written on or off; else its flag needs no value. Both read all of these words.
type Bool struct {
	P      *bool
	Worded bool
}

// OnOff is a Bool that is worded.
func OnOff(p *bool) Bool { return Bool{p, true} }

func (v Bool) String() string {
	switch {
	case !v.Worded:
		return strconv.FormatBool(*v.P)
	case *v.P:
		return "on"
	}
	return "off"
}

// Type implements Value.
func (v Bool) Type() string {
	if v.Worded {
		return "on|off"
	}
	return ""
}

// Set implements Value.
func (v Bool) Set(s string) error {
	on, err := strconv.ParseBool(s)
	switch {
	case s == "on" || s == "off":
		on = s == "on"
	case err != nil && v.Worded:
		return errors.New("not known: give on or off")
	case err != nil:
		return errors.New("neither true nor false")
	}
	*v.P = on
	return nil
}

// Several collects what a repeatable flag is given, each parsed on its own.
type Several[T any] struct {
	P     *[]T
	Parse func(string) (T, error)
	Kind  string
	Print func(T) string // nil: fmt.Sprint
}

func (v Several[T]) String() string { return "" }

// Type implements Value.
func (v Several[T]) Type() string { return v.Kind }

// Set implements Value.
func (v Several[T]) Set(s string) error {
	one, err := v.Parse(s)
	if err != nil {
		return err
	}
	*v.P = append(*v.P, one)
	return nil
}

// Texts implements List.
func (v Several[T]) Texts() []string {
	texts := make([]string, len(*v.P))
	for i, one := range *v.P {
		if texts[i] = fmt.Sprint(one); v.Print != nil {
			texts[i] = v.Print(one)
		}
	}
	return texts
}

// Reset implements List.
func (v Several[T]) Reset() { *v.P = nil }

// Text is a string with its own check.
type Text struct {
	P     *string
	Check func(string) error
	Kind  string
}

// Path is the name of a file or directory, which need not exist yet.
func Path(p *string, kind string) Text { return Text{p, CheckPath, kind} }

func (v Text) String() string { return *v.P }

// Type implements Value.
func (v Text) Type() string { return v.Kind }

// Set implements Value.
func (v Text) Set(s string) error {
	if err := v.Check(s); err != nil {
		return err
	}
	*v.P = s
	return nil
}

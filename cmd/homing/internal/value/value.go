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

// Duration is a time.Duration, written with its unit.
type Duration struct {
	P        *time.Duration
	Min, Max time.Duration
	ZeroIs   string // what zero means; empty when zero is no exception to Min
}

func (v Duration) String() string { return FormatDuration(*v.P) }

// Type implements Value.
func (v Duration) Type() string { return "duration" }

// Set implements Value.
func (v Duration) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil {
		return errors.New("not a duration: write it with its unit, such as 500ms, 30s, 5m or 10h")
	}
	if d == 0 && v.ZeroIs != "" {
		*v.P = 0
		return nil
	}
	if d < v.Min || d > v.Max {
		return fmt.Errorf("out of bounds: give %s to %s", FormatDuration(v.Min), FormatDuration(v.Max))
	}
	*v.P = d
	return nil
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

// Int is a whole number.
type Int struct {
	P        *int
	Min, Max int
}

func (v Int) String() string { return strconv.Itoa(*v.P) }

// Type implements Value.
func (v Int) Type() string { return "number" }

// Set implements Value.
func (v Int) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil {
		return fmt.Errorf("not a whole number: give %d to %d", v.Min, v.Max)
	}
	if n < v.Min || n > v.Max {
		return fmt.Errorf("out of bounds: give %d to %d", v.Min, v.Max)
	}
	*v.P = n
	return nil
}

// Auto is an Int of which zero is written auto.
type Auto struct{ Int }

func (v Auto) String() string {
	if *v.P == 0 {
		return "auto"
	}
	return v.Int.String()
}

// Set implements Value.
func (v Auto) Set(s string) error {
	if s == "auto" {
		*v.P = 0
		return nil
	}
	if err := v.Int.Set(s); err != nil {
		return fmt.Errorf("%w, or auto", err)
	}
	return nil
}

// Ratio is a number that need not be whole.
type Ratio struct {
	P        *float64
	Min, Max float64
}

func (v Ratio) String() string { return strconv.FormatFloat(*v.P, 'g', -1, 64) }

// Type implements Value.
func (v Ratio) Type() string { return "ratio" }

// Set implements Value.
func (v Ratio) Set(s string) error {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(f) || f < v.Min || f > v.Max {
		return fmt.Errorf("not in bounds: give a number from %g to %g", v.Min, v.Max)
	}
	*v.P = f
	return nil
}

// Bytes is a size.
type Bytes struct {
	P        *int64
	Min, Max int64
}

func (v Bytes) String() string { return FormatBytes(*v.P) }

// Type implements Value.
func (v Bytes) Type() string { return "bytes" }

// Set implements Value.
func (v Bytes) Set(s string) error {
	n, err := ParseBytes(s)
	if err != nil {
		return err
	}
	if n < v.Min || n > v.Max {
		return fmt.Errorf("out of bounds: give %s to %s", FormatBytes(v.Min), FormatBytes(v.Max))
	}
	*v.P = n
	return nil
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

// Choice is one word of an Enum.
type Choice[T comparable] struct {
	Word string
	Is   T
}

// Named is a choice whose word is what the value calls itself.
func Named[T interface {
	comparable
	fmt.Stringer
}](is T) Choice[T] {
	return Choice[T]{is.String(), is}
}

// Enum is one of some words.
type Enum[T comparable] struct {
	P       *T
	Choices []Choice[T]
}

func (v Enum[T]) String() string {
	i := slices.IndexFunc(v.Choices, func(c Choice[T]) bool { return c.Is == *v.P })
	if i < 0 {
		return ""
	}
	return v.Choices[i].Word
}

// Type implements Value.
func (v Enum[T]) Type() string { return strings.Join(v.Words(), "|") }

// Words is the words, in the order of the choices.
func (v Enum[T]) Words() []string {
	words := make([]string, len(v.Choices))
	for i, c := range v.Choices {
		words[i] = c.Word
	}
	return words
}

// Set implements Value.
func (v Enum[T]) Set(s string) error {
	for _, c := range v.Choices {
		if c.Word == s {
			*v.P = c.Is
			return nil
		}
	}
	return errors.New("not known: give " + strings.Join(v.Words(), " or "))
}

// OnOff is a switch that is written on or off, and read as true or false too.
func OnOff(p *bool) Switch {
	return Switch{Enum[bool]{p, []Choice[bool]{{"on", true}, {"off", false}}}}
}

// Switch is what OnOff makes.
type Switch struct{ Enum[bool] }

// Set implements Value.
func (v Switch) Set(s string) error {
	b, ok := parseSwitch(s)
	if !ok {
		return v.Enum.Set(s) // which names the words
	}
	*v.P = b
	return nil
}

// parseSwitch reads the words of every switch: those of a flag that needs no value, of YAML 1.2, and on and off.
func parseSwitch(s string) (on, ok bool) {
	switch s {
	case "on":
		return true, true
	case "off":
		return false, true
	}
	on, err := strconv.ParseBool(s)
	return on, err == nil
}

// Bool is a flag that needs no value.
type Bool struct{ P *bool }

func (v Bool) String() string { return strconv.FormatBool(*v.P) }

// Type implements Value.
func (v Bool) Type() string { return "" }

// IsBoolFlag says that the flag needs no value.
func (v Bool) IsBoolFlag() bool { return true }

// Set implements Value.
func (v Bool) Set(s string) error {
	b, ok := parseSwitch(s)
	if !ok {
		return errors.New("neither true nor false")
	}
	*v.P = b
	return nil
}

// Several collects what a repeatable flag is given, each parsed on its own.
type Several[T any] struct {
	P     *[]T
	Parse func(string) (T, error)
	Print func(T) string
	Kind  string
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
		texts[i] = v.Print(one)
	}
	return texts
}

// Reset implements List.
func (v Several[T]) Reset() { *v.P = nil }

// AsIs prints a string of a Several.
func AsIs(s string) string { return s }

// Text is a string with its own check.
type Text struct {
	P     *string
	Check func(string) error
	Kind  string
}

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

//go:build linux

package main

import (
	"fmt"
	"strconv"
	"strings"
)

// stringValue is a flag whose words are checked later, with the plan.
type stringValue string

func (v *stringValue) String() string     { return string(*v) }
func (v *stringValue) Type() string       { return "word" }
func (v *stringValue) Set(s string) error { *v = stringValue(s); return nil }

// sizeValue is a number of bytes, as in 512, 64KiB or 1GiB.
type sizeValue struct{ n *int64 }

func (v *sizeValue) String() string {
	if *v.n == 0 {
		return "0"
	}
	n, unit := *v.n, ""
	for _, u := range []string{"KiB", "MiB", "GiB"} {
		if n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return strconv.FormatInt(n, 10) + unit
}

func (v *sizeValue) Type() string { return "size" }

func (v *sizeValue) Set(s string) error {
	digits, shift := s, 0
	for unit, bits := range map[string]int{"KiB": 10, "MiB": 20, "GiB": 30} {
		if rest, ok := strings.CutSuffix(s, unit); ok {
			digits, shift = rest, bits
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<62>>shift {
		return fmt.Errorf("not a size: write it as 512, 64KiB, 16MiB or 1GiB")
	}
	*v.n = n << shift
	return nil
}

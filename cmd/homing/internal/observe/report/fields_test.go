package report

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"homing/cmd/homing/internal/observe/judge"
)

// Every field of the JSON has its line, in order, and there is no line without a field.
func TestFields(t *testing.T) {
	var got []string
	for _, f := range fields() {
		got = append(got, f.path)
	}
	if diff := cmp.Diff(paths(reflect.TypeFor[judge.Findings](), ""), got); diff != "" {
		t.Errorf("(-JSON +table):\n%s", diff)
	}
}

// paths are those of a type's fields in its JSON.
func paths(typ reflect.Type, at string) (all []string) {
	switch {
	case typ == reflect.TypeFor[time.Time]():
	case typ.Kind() == reflect.Struct:
		if at != "" {
			at += "."
		}
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case name == "-" || !f.IsExported():
			case f.Anonymous:
				all = append(all, paths(f.Type, strings.TrimSuffix(at, "."))...)
			default:
				all = append(all, paths(f.Type, at+name)...)
			}
		}
		return all
	case typ.Kind() == reflect.Slice:
		return paths(typ.Elem(), at+"[]")
	}
	return []string{at}
}

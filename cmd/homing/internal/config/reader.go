//go:build linux

package config

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"homing/cmd/homing/internal/value"
)

// reader walks one file and notes all that is wrong with it.
type reader struct {
	lines    []string
	problems []Problem
	anchors  map[string]ast.Node
	places   map[string]place // of the settings and sections that were read, by path
	odd      map[string]bool  // sections with a key that is not known, by path: what is missing may be meant by it
	failed   map[string]bool  // settings and sections with something wrong in them, by path
}

// missing says that a section does not have a key, nor anything that could be meant for it.
func (r *reader) missing(section, key string) bool {
	_, there := r.places[join(section, key)]
	return !there && !r.odd[section]
}

// place is where something stands.
type place struct{ line, column, width int }

// say notes a problem.
func (r *reader) say(at place, format string, args ...any) {
	r.problems = append(r.problems, Problem{Line: at.line, Column: at.column, Width: at.width, Text: fmt.Sprintf(format, args...)})
}

// at is the place of a path, or of the nearest section around it that was read.
func (r *reader) at(path string) place {
	for {
		if at, ok := r.places[path]; ok {
			return at
		}
		cut := max(strings.LastIndexByte(path, '.'), strings.LastIndexByte(path, '['))
		if cut < 0 {
			return place{}
		}
		path = path[:cut]
	}
}

// reglue undoes what the library does to [name:443] in braces: it reads name: 443, though YAML 1.2 (section 7.3.3) wants
// entries is the keys of a mapping. Each key comes once: those behind << only where the mapping does not have them.
// section reads what a section says, at the path that its messages and places have.
func (r *reader) section(node ast.Node, s *section) {
	before := len(r.problems)
	entries := r.entries(node, s)
	r.odd[s.path] = len(r.problems) > before
	for _, e := range entries {
		f := s.find(e.key)
		if f == nil {
			r.say(e.at, "%s is not known here: %s", quote(e.key), s.advice(e.key))
			r.odd[s.path] = true
			continue
		}
		path := join(s.path, f.name)
		r.places[path] = e.at
		before := len(r.problems)
		switch {
		case f.row != nil:
			r.setting(path, f.row, e)
		case f.below != nil:
			r.section(e.value, f.below)
		default:
			f.list(path, e.value)
		}
		r.failed[path] = len(r.problems) > before
	}
}

// setting gives a row its value.
func (r *reader) setting(path string, row *Row, e entry) {
	_, name, _ := cutLast(path)
	list, several := row.Value.(value.List)
	node := r.resolve(e.value)
	switch n := node.(type) {
	case nil:
		return
	case *ast.NullNode:
		r.say(e.at, "%s has no value: give it %s, such as %s, or leave the key out", name, kind(row), row.sample())
		return
	case ast.MapNode:
		r.say(e.at, "%s takes %s, not keys below it: write it such as %s: %s", name, kind(row), name, row.sample())
		return
	case *ast.SequenceNode:
		if !several {
			r.say(e.at, "%s takes %s, not a list: write it such as %s: %s", name, kind(row), name, row.sample())
			return
		}
		list.Reset()
		for i, one := range n.Values {
			if one = r.resolve(one); one != nil {
				at := r.placeOf(one)
				r.places[fmt.Sprintf("%s[%d]", path, i)] = at
				r.set(name, row, one)
			}
		}
	default:
		r.places[path] = r.placeOf(node)
		if several {
			list.Reset()
		}
		r.set(name, row, node)
	}
}

// set gives a row one scalar.
func (r *reader) set(name string, row *Row, node ast.Node) {
	text, ok := r.scalar(name, row, node)
	if !ok {
		return
	}
	if err := row.Value.Set(text); err != nil {
		r.say(r.placeOf(node), "%s %s: %s", name, quote(text), InKeys(err.Error()))
	}
}

// scalar is the text of one value, as it stands in the file. What cannot be one is said.
func (r *reader) scalar(name string, row *Row, node ast.Node) (text string, ok bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		text = n.Value
		if quoted := n.Token.Type == token.DoubleQuoteType || n.Token.Type == token.SingleQuoteType; quoted && !takesText(row.Value) {
			r.say(r.placeOf(node), "%s takes %s, not text: leave out the quotes", name, kind(row))
			return "", false
		}
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		text = node.GetToken().Value
	case *ast.NullNode:
		r.say(r.placeOf(node), "%s has an empty entry: give it %s, or leave it out", name, kind(row))
		return "", false
	case *ast.LiteralNode:
		r.say(r.placeOf(node), "%s takes %s, not a text of several lines: write it such as %s: %s", name, kind(row), name, row.sample())
		return "", false
	default:
		r.say(r.placeOf(node), "an entry of %s is %s, nothing deeper: write it such as %s: %s", name, kind(row), name, row.sample())
		return "", false
	}
	if i := strings.IndexFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f || c == utf8.RuneError }); i >= 0 {
		r.say(r.placeOf(node), "%s %s: has a character that cannot be meant: take %q out", name, quote(text), []rune(text[i:])[0])
		return "", false
	}
	return text, true
}

// takesText says that the setting's value may stand in quotes.
func takesText(v value.Value) bool {
	switch v.(type) {
	case value.Int, value.Auto, value.Ratio, value.Bool, boundValue, portValue, orNone:
		return false
	}
	return true
}

// kind words what a setting takes.
func kind(row *Row) string {
	switch typ := row.Value.Type(); typ {
	case "":
		return "true or false"
	case "duration":
		return "a duration"
	case "number", "ratio":
		return "a number"
	case "bytes":
		return "a number of bytes"
	case "ADDR":
		return "an address"
	case "FILE", "DIR", "PATH":
		return "a path"
	case "NAME", "WORD":
		return "a name"
	case "CIDR":
		return "a network"
	case "IP":
		return "an IP address"
	case "TEXT":
		return "a text"
	case "STATUS":
		return "a status"
	default:
		return strings.ReplaceAll(typ, "|", " or ")
	}
}

// sample is what a row could be given.
func (r *Row) sample() string {
	if r.Example != "" {
		return r.exampleText()
	}
	return write(r.Value)
}

// sample is what a section could begin with.
func (s *section) sample() string {
	if f := &s.fields[0]; f.row != nil {
		return f.name + ": " + f.row.sample()
	}
	return s.fields[0].name + ": ..."
}

// quote is a text as a message shows it, cut where nobody reads on.
func quote(text string) string {
	const most = 80
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "..."
	}
	return fmt.Sprintf("%q", text)
}

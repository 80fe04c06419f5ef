//go:build linux

package config

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"

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
	r.problems = append(r.problems, Problem{at.line, at.column, at.width, fmt.Sprintf(format, args...)})
}

// sayAt notes a problem at the place of a path.
func (r *reader) sayAt(path, format string, args ...any) { r.say(r.at(path), format, args...) }

// line is where the setting of a path stands.
func (r *reader) line(path string, args ...any) int { return r.at(fmt.Sprintf(path, args...)).line }

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
		r.unlike(e.at, name, row, "keys below it")
		return
	case *ast.SequenceNode:
		if !several {
			r.unlike(e.at, name, row, "a list")
			return
		}
		list.Reset()
		for i, one := range n.Values {
			if one = r.resolve(one); one != nil {
				r.places[fmt.Sprintf("%s[%d]", path, i)] = r.placeOf(one)
				r.set(name, row, one)
			}
		}
		return
	}
	r.places[path] = r.placeOf(node)
	if several {
		list.Reset()
	}
	r.set(name, row, node)
}

// unlike says that a setting is given what it does not take.
func (r *reader) unlike(at place, name string, row *Row, given string) {
	r.say(at, "%s takes %s, not %s: write it such as %s: %s", name, kind(row), given, name, row.sample())
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
	at := r.placeOf(node)
	switch n := node.(type) {
	case *ast.StringNode:
		if text = n.Value; quoted(n.Token) && !takesText(row.Value) {
			r.say(at, "%s takes %s, not text: leave out the quotes", name, kind(row))
			return "", false
		}
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		text = node.GetToken().Value
	case *ast.NullNode:
		r.say(at, "%s has an empty entry: give it %s, or leave it out", name, kind(row))
		return "", false
	case *ast.LiteralNode:
		r.unlike(at, name, row, "a text of several lines")
		return "", false
	default:
		r.say(at, "an entry of %s is %s, nothing deeper: write it such as %s: %s", name, kind(row), name, row.sample())
		return "", false
	}
	if i := strings.IndexFunc(text, func(c rune) bool { return c < ' ' || c == 0x7f || c == utf8.RuneError }); i >= 0 {
		r.say(at, "%s %s: has a character that cannot be meant: take %q out", name, quote(text), []rune(text[i:])[0])
		return "", false
	}
	return text, true
}

// takesText says that the setting's value may stand in quotes.
func takesText(v value.Value) bool {
	switch v.Type() {
	case "", "number", "ratio":
		return false
	}
	return true
}

// kind words what a setting takes.
func kind(row *Row) string {
	known := map[string]string{
		"": "true or false", "duration": "a duration", "number": "a number", "ratio": "a number", "bytes": "a number of bytes",
		"ADDR": "an address", "IP": "an IP address", "CIDR": "a network", "FILE": "a path", "DIR": "a path", "PATH": "a path",
		"NAME": "a name", "WORD": "a name", "TEXT": "a text", "STATUS": "a status",
	}
	typ := row.Value.Type()
	if words, ok := known[typ]; ok {
		return words
	}
	return strings.ReplaceAll(typ, "|", " or ")
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

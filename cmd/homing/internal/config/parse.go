//go:build linux

package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"homing/balancer/pool"
)

// Bounds of a file, so that no text keeps the parser busy or takes it to the end of its stack.
const (
	maxFile  = 4 << 20 // bytes; room for tens of thousands of backends
	maxLine  = 4096    // bytes
	maxDepth = 100     // of brackets that are open at once; ours take four
)

// Parse reads a file's text. override, which may be nil, then says what wins over the top of the file; listeners and
// pools begin with the result. An error is *Errors, or override's.
func Parse(name string, text []byte, override func(*Config) error) (*Config, error) {
	text = bytes.TrimPrefix(bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n")), []byte("\ufeff"))
	r := &reader{
		lines: strings.Split(string(text), "\n"), anchors: make(map[string]ast.Node),
		places: make(map[string]place), odd: make(map[string]bool), failed: make(map[string]bool),
	}
	c := Default()
	if body := r.parse(text); body != nil {
		if err := r.config(c, body, override); err != nil {
			return nil, err
		}
	}
	if len(r.problems) == 0 {
		return c, nil
	}
	slices.SortStableFunc(r.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return nil, &Errors{File: name, Problems: slices.Compact(r.problems), lines: r.lines}
}

// parse makes the tree of a text, nil when it says why not.
func (r *reader) parse(text []byte) ast.Node {
	if !r.bounded(text) {
		return nil
	}
	file, err := parseYAML(text)
	if err != nil {
		at, text := r.explainSyntax(err)
		r.say(at, "%s", text)
		return nil
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if _, comment := doc.Body.(*ast.CommentGroupNode); comment {
			continue
		}
		if body != nil {
			r.say(r.placeOf(doc.Body), "a second document begins here: leave out what is behind ---, or make it a file of its own")
			return nil
		}
		body = doc.Body
	}
	if body == nil {
		r.say(place{}, "the file is empty: homing config example prints one to begin with")
		return nil
	}
	ast.Walk(visitor(r.collect), body)
	return body
}

// visitor calls itself for each node.
type visitor func(ast.Node)

// Visit implements ast.Visitor.
func (v visitor) Visit(node ast.Node) ast.Visitor {
	v(node)
	return v
}

// bounded refuses what no configuration is, before it is parsed.
func (r *reader) bounded(text []byte) bool {
	if len(text) > maxFile {
		r.say(place{}, "the file has %d bytes, at most %d are read", len(text), maxFile)
		return false
	}
	open := 0
	for i, line := range r.lines {
		if len(line) > maxLine {
			r.say(place{i + 1, 1, 1}, "the line has %d bytes, at most %d are read: break it", len(line), maxLine)
			return false
		}
		for at, c := range line {
			here := func() place { return place{i + 1, utf8.RuneCountInString(line[:at]) + 1, 1} }
			switch {
			case c == utf8.RuneError || c < ' ' && c != '\t' || c == 0x7f:
				r.say(here(), "a byte that is no text: save the file as UTF-8, without control characters")
				return false
			case c == '[' || c == '{':
				open++
			case c == ']' || c == '}':
				open = max(open-1, 0)
			}
			if open > maxDepth {
				r.say(here(), "more than %d brackets are open: close them", maxDepth)
				return false
			}
		}
	}
	return true
}

// parseYAML is the library's parser. Its faults are errors here: a reload must not end the process.
func parseYAML(text []byte) (file *ast.File, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			file, err = nil, fmt.Errorf("the parser gave up: %v", fault)
		}
	}()
	return parser.ParseBytes(text, 0, parser.AllowDuplicateMapKey())
}

// explainSyntax words an error of the library: where, what, and what to do.
func (r *reader) explainSyntax(err error) (at place, text string) {
	broken, ok := errors.AsType[*yaml.SyntaxError](err)
	if !ok {
		return place{}, "this is no YAML: " + strings.Join(strings.Fields(err.Error()), " ")
	}
	line := ""
	if tok := broken.GetToken(); tok != nil && tok.Position != nil {
		at = place{tok.Position.Line, max(tok.Position.Column, 1), 1}
		if at.line >= 1 && at.line <= len(r.lines) {
			line = r.lines[at.line-1]
		}
	}
	message := broken.GetMessage()
	for _, known := range []struct{ part, in, text string }{
		{"cannot start any token", "\t", "a tab: YAML is indented with spaces"},
		{"double-quoted", "", "the text in double quotes does not end: close it"},
		{"single-quoted", "", "the text in single quotes does not end: close it"},
		{"flow mapping end token", "", "the brace is not closed: add }"},
		{"sequence end token", "", "the bracket is not closed: add ]"},
		{"", "[:", "an address in brackets is a list to YAML: put it in quotes, as \"[::1]:443\""},
		{"", "[2", "an address in brackets is a list to YAML: put it in quotes, as \"[2001:db8::1]:443\""},
		{"block sequence entries are not allowed", "", "a dash cannot stand here: a list begins on the line below its key"},
		{"is a reserved character", "", "a value cannot begin with this character: put it in quotes"},
		{"mapping value is not allowed", "", "a key cannot stand here: align it with those beside it, and put values with \": \" in quotes"},
		{"value is not allowed", "", "this does not belong to what is before it: align it with its neighbours, or put the value in quotes"},
		{"non-map value", "", "this is no key with a value: a colon and a space belong between them"},
		{"invalid key", "", "this cannot be a key: write a plain word before the colon"},
		{"unexpected directive", "", "a percent sign cannot begin a key: take it out"},
	} {
		if strings.Contains(message, known.part) && strings.Contains(line, known.in) {
			return at, known.text
		}
	}
	return at, "this is no YAML: " + strings.Join(strings.Fields(message), " ")
}

// config fills c with what the tree says.
func (r *reader) config(c *Config, body ast.Node, override func(*Config) error) error {
	var listeners, pools ast.Node
	top := newSection("the top of the file", "", topRows(c)...)
	keep := func(into *ast.Node) func(string, ast.Node) {
		return func(_ string, node ast.Node) { *into = node }
	}
	top.fields = append([]field{{name: "listeners", list: keep(&listeners)}, {name: "pools", list: keep(&pools)}}, top.fields...)
	r.section(body, top)
	if override != nil {
		if err := override(c); err != nil {
			return err
		}
	}
	r.list("pools", "a pool", "name: www", pools, func(path string, node ast.Node) {
		c.Pools = append(c.Pools, r.pool(c, path, node))
	})
	r.list("listeners", "a listener", "address: :443", listeners, func(path string, node ast.Node) {
		c.Listeners = append(c.Listeners, r.listener(c, path, node))
	})
	r.check(c)
	return nil
}

// list reads a list of sections.
func (r *reader) list(path, what, example string, node ast.Node, read func(path string, node ast.Node)) {
	if node == nil {
		return
	}
	node = r.resolve(node)
	before := len(r.problems)
	defer func() { r.failed[path] = len(r.problems) > before }()
	_, name, _ := cutLast(path)
	switch n := node.(type) {
	case nil, *ast.NullNode:
	case *ast.SequenceNode:
		i := -1 // of those that are read
		for _, one := range n.Values {
			one := r.resolve(one)
			if one == nil {
				continue
			}
			at := fmt.Sprintf("%s[%d]", path, i+1)
			if _, empty := one.(*ast.NullNode); empty {
				r.say(r.placeOf(one), "%s has an empty entry: give it keys, such as %s, or leave the dash out", name, example)
				continue
			}
			r.places[at] = r.placeOf(one)
			i++
			read(at, one)
		}
	case ast.MapNode:
		r.say(r.placeOf(node), "%s is a list: begin each entry with a dash, such as - %s", name, example)
	default:
		r.say(r.placeOf(node), "%s is a list, not a value: give %s below it, such as - %s", name, what, example)
	}
}

// listener reads one entry of listeners.
func (r *reader) listener(c *Config, path string, node ast.Node) Listener {
	scratch := *c
	var l Listener
	s := newSection("a listener", path, slices.Concat(listenerRows(&l), rowsOf(Table(&scratch), InListeners))...)
	s.fields = append(s.fields, field{name: "routes", list: func(path string, node ast.Node) {
		r.list(path, "a route", "names: [www.example.org]", node, func(path string, node ast.Node) {
			var route Route
			r.section(node, newSection("a route", path, routeRows(&route)...))
			l.Routes = append(l.Routes, route)
		})
	}})
	r.section(node, s)
	l.ListenerSettings = scratch.Listener
	l.Name = cmp.Or(l.Name, l.Address)
	return l
}

// pool reads one entry of pools.
func (r *reader) pool(c *Config, path string, node ast.Node) Pool {
	scratch := *c
	var p Pool
	s := newSection("a pool", path, slices.Concat(poolRows(&p), rowsOf(Table(&scratch), InPools))...)
	s.fields = append(s.fields, field{name: "backends", list: func(path string, node ast.Node) {
		r.list(path, "a backend", "address: 192.0.2.7:443", node, func(path string, node ast.Node) {
			p.Backends = append(p.Backends, r.backend(path, node))
		})
	}})
	r.section(node, s)
	p.PoolSettings = scratch.Pool
	return p
}

// backend reads one entry of backends: keys, or one word as --backend takes it.
func (r *reader) backend(path string, node ast.Node) pool.Spec {
	spec := pool.Spec{Weight: 1}
	switch node.(type) {
	case ast.MapNode, *ast.SequenceNode:
		r.section(node, newSection("a backend", path, backendRows(&spec)...))
	default:
		var all []pool.Spec
		row := Row{Value: backendsValue(&all)}
		if r.set("backends", &row, node); len(all) == 1 {
			spec = all[0]
		}
	}
	return spec
}

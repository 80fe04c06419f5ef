//go:build linux

package config

import (
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// entry is one key of a mapping with its value.
type entry struct {
	key   string
	at    place // of the key
	value ast.Node
}

// maxReferences bounds how many references lead to each other.
const maxReferences = 16

// resolve follows references and sees through anchors. It is nil, and said, when there is nothing behind them.
func (r *reader) resolve(node ast.Node) ast.Node {
	for range maxReferences {
		switch n := node.(type) {
		case *ast.AnchorNode:
			node = n.Value
		case *ast.AliasNode:
			name := n.Value.GetToken().Value
			behind, ok := r.anchors[name]
			if !ok {
				r.say(r.placeOf(n), "*%s looks like a reference to an anchor, and there is none: in quotes it is text, as %q",
					name, "*"+name)
				return nil
			}
			node = behind
		case *ast.TagNode:
			r.say(r.placeOf(n), "%s is a type, and types are known without: leave it out", n.Start.Value)
			return nil
		default:
			return reglue(node)
		}
	}
	r.say(r.placeOf(node), "references lead in a circle: write the value out")
	return nil
}

// reglue undoes what the library does to [name:443] in braces: it reads name: 443, though YAML 1.2 (section 7.3.3) wants
// white space behind a colon that ends a key (goccy/go-yaml issue 832).
func reglue(node ast.Node) ast.Node {
	m, ok := node.(*ast.MappingNode)
	if !ok || m.IsFlowStyle || len(m.Values) != 1 {
		return node
	}
	key, colon, value := m.Values[0].Key.GetToken(), m.Values[0].Start, m.Values[0].Value.GetToken()
	if colon == nil || value == nil || quoted(key) ||
		key.Position.Line != value.Position.Line || colon.Position.Column+1 != value.Position.Column {
		return node
	}
	switch m.Values[0].Value.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		text := key.Value + ":" + value.Value
		return ast.String(token.New(text, text, key.Position))
	}
	return node
}

// collect finds the anchors of the file.
func (r *reader) collect(node ast.Node) {
	if anchor, ok := node.(*ast.AnchorNode); ok {
		r.anchors[anchor.Name.GetToken().Value] = anchor.Value
	}
}

// entries is the keys of a mapping. Each key comes once: those behind << only where the mapping does not have them.
// What is no mapping is said. A section without anything in it is empty.
func (r *reader) entries(node ast.Node, s *section) []entry {
	node = r.resolve(node)
	switch n := node.(type) {
	case nil, *ast.NullNode:
		return nil
	case ast.MapNode:
		return r.pairs(n, s, 0)
	case *ast.SequenceNode:
		r.say(r.placeOf(node), "%s is made of keys, not of a list: write it such as %s", s.what, s.sample())
	default:
		r.say(r.placeOf(node), "%s is made of keys, not a value: write it such as %s", s.what, s.sample())
	}
	return nil
}

// pairs is the keys of a mapping that depth references led to.
func (r *reader) pairs(n ast.MapNode, s *section, depth int) []entry {
	var own, merged []entry
	first := make(map[string]place)
	for pairs := n.MapRange(); pairs.Next(); {
		key := pairs.Key()
		switch key.(type) {
		case *ast.MergeKeyNode:
			merged = append(merged, r.merge(pairs.Value(), s, depth)...)
			continue
		case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		default:
			r.say(r.placeOf(key), "this cannot be a key: %s has %s", s.what, strings.Join(s.names(), ", "))
			continue
		}
		e := entry{key.GetToken().Value, r.placeOf(key), pairs.Value()}
		if before, twice := first[e.key]; twice {
			r.say(e.at, "%s is given twice, first in line %d: leave one out", e.key, before.line)
			continue
		}
		first[e.key] = e.at
		own = append(own, e)
	}
	for _, e := range merged {
		if _, given := first[e.key]; !given {
			first[e.key] = e.at
			own = append(own, e)
		}
	}
	return own
}

// merge is the keys of what stands behind <<: a mapping or several, by reference.
func (r *reader) merge(node ast.Node, s *section, depth int) []entry {
	node = r.resolve(node)
	if node == nil {
		return nil
	}
	if depth == maxReferences {
		r.say(r.placeOf(node), "references lead in a circle: write the keys out")
		return nil
	}
	switch n := node.(type) {
	case ast.MapNode:
		return r.pairs(n, s, depth+1)
	case *ast.SequenceNode:
		var all []entry
		for _, one := range n.Values {
			all = append(all, r.merge(one, s, depth+1)...)
		}
		return all
	}
	r.say(r.placeOf(node), "<< takes the keys that an anchor names: write <<: *name, or leave it out")
	return nil
}

// placeOf is where a node begins, and how much of its first line it covers.
func (r *reader) placeOf(node ast.Node) place {
	tok := node.GetToken()
	if start := firstToken(node); start != nil {
		tok = start
	}
	if tok == nil || tok.Position == nil {
		return place{}
	}
	at := place{tok.Position.Line, tok.Position.Column, 1}
	if alias, ok := node.(*ast.AliasNode); ok {
		at.width = 1 + utf8.RuneCountInString(alias.Value.GetToken().Value)
		return at
	}
	if text := strings.TrimSpace(tok.Origin); !strings.Contains(text, "\n") {
		at.width = max(utf8.RuneCountInString(text), 1)
	}
	return at
}

func quoted(t *token.Token) bool {
	return t.Type == token.DoubleQuoteType || t.Type == token.SingleQuoteType
}

// firstToken is where a mapping begins: its own token is the colon behind the first key.
func firstToken(node ast.Node) *token.Token {
	switch n := node.(type) {
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	case *ast.AliasNode:
		return n.Start
	}
	return nil
}

//go:build linux

package config

import (
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"homing/cmd/internal/usage"
)

// section is the keys that may stand beside each other.
type section struct {
	what   string // that it describes: "a pool", or its path
	path   string // of the section itself, "" for the top
	fields []field
}

// field is one key of a section: a setting, a section below, or a list of sections.
type field struct {
	name  string
	row   *Row
	below *section
	list  func(path string, node ast.Node)
}

// add puts a row where its key says.
func (s *section) add(row Row) {
	name, rest, deeper := strings.Cut(row.Key, ".")
	if !deeper {
		s.fields = append(s.fields, field{name: name, row: &row})
		return
	}
	row.Key = rest
	f := s.find(name)
	if f == nil {
		s.fields = append(s.fields, field{name: name, below: &section{what: join(s.path, name), path: join(s.path, name)}})
		f = &s.fields[len(s.fields)-1]
	}
	f.below.add(row)
}

func (s *section) find(name string) *field {
	i := slices.IndexFunc(s.fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return nil
	}
	return &s.fields[i]
}

func (s *section) names() []string {
	names := make([]string, len(s.fields))
	for i := range s.fields {
		names[i] = s.fields[i].name
	}
	return names
}

// newSection makes a section of rows.
func newSection(what, path string, rows ...Row) *section {
	s := &section{what: what, path: path}
	for _, row := range rows {
		s.add(row)
	}
	return s
}

// rowsOf is the rows of a table that a section may have.
func rowsOf(table []Group, in ...Where) []Row {
	var rows []Row
	for _, group := range table {
		for _, row := range group.Rows {
			if row.Key != "" && slices.Contains(in, row.Where) {
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// join puts a key behind a path.
func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// advice says what an unknown key could have meant. It knows the keys of the section, those of other places, the flags
// and what other balancers call things.
func (s *section) advice(key string) string {
	word := strings.ReplaceAll(strings.ToLower(strings.TrimLeft(key, "-")), "-", "_")
	if s.find(word) != nil {
		return "write " + word
	}
	if foreign := foreignWords()[word]; foreign != "" && s.find(foreign) != nil {
		return "write " + foreign
	}
	if places := elsewhere(word, s.path); len(places) > 0 {
		return "write " + strings.Join(places, " or ")
	}
	if near := usage.Nearest(word, s.names()); near != "" {
		return "write " + near
	}
	return s.what + " has " + strings.Join(s.names(), ", ")
}

// foreignWords is what others call our keys.
func foreignWords() map[string]string {
	return map[string]string{
		"addr": "address", "host": "address", "port": "address", "server": "address", "bind": "address", "listen": "address",
		"servers": "backends", "upstream": "backends", "targets": "backends", "endpoints": "backends", "nodes": "backends",
		"frontends": "listeners", "binds": "listeners", "upstreams": "pools", "services": "pools",
		"sni": "names", "server_name": "names", "server_names": "names", "hosts": "names", "domains": "names",
		"protocols": "alpn", "backend": "pool", "default_backend": "default", "default_pool": "default",
		"balance": "policy", "algorithm": "policy", "maxconn": "max_conns", "health_check": "checks", "check": "checks",
	}
}

// elsewhere says where a key stands that is not known in the section at path.
func elsewhere(word, path string) []string {
	var places []string
	say := func(key, in string) {
		place := key
		if parent, name, deep := cutLast(key); deep {
			place = name + " below " + parent
		}
		if in != "" {
			place += " in " + in
		}
		if !slices.Contains(places, place) {
			places = append(places, place)
		}
	}
	for _, row := range rowsOf(Table(Default()), Top, InListeners, InPools) {
		_, name, _ := cutLast(row.Key)
		if strings.ReplaceAll(row.Flag, "-", "_") != word && name != word || row.Key == word && path == "" {
			continue
		}
		inList := strings.Contains(path, "[")
		switch {
		case row.Where == Top && inList:
			say(row.Key, "the top of the file")
		case row.Where == InPools && strings.HasPrefix(path, "listeners["):
			say(row.Key, "the pool")
		case row.Where == InListeners && strings.HasPrefix(path, "pools["):
			say(row.Key, "the listener")
		default:
			say(row.Key, "")
		}
	}
	for _, one := range []struct {
		words    []string
		key, its string
	}{
		{[]string{"address", "listen"}, "address", "each listener"},
		{[]string{"backends", "backend"}, "backends", "each pool"},
		{[]string{"routes", "default"}, word, "each listener"},
		{[]string{"names", "alpn"}, word, "each route of a listener"},
		{[]string{"weight", "max_conns"}, word, "each backend"},
		{[]string{"listeners", "pools"}, word, "the top of the file"},
	} {
		if slices.Contains(one.words, word) {
			say(one.key, one.its)
		}
	}
	return places
}

func cutLast(key string) (parent, name string, deep bool) {
	i := strings.LastIndexByte(key, '.')
	if i < 0 {
		return "", key, false
	}
	return key[:i], key[i+1:], true
}

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

// newSection makes a section of rows.
func newSection(what, path string, rows ...Row) *section {
	s := &section{what: what, path: path}
	for i := range rows {
		s.add(rows[i].Key, &rows[i])
	}
	return s
}

// add puts a row where its key says.
func (s *section) add(key string, row *Row) {
	name, rest, deeper := strings.Cut(key, ".")
	if !deeper {
		s.fields = append(s.fields, field{name: name, row: row})
		return
	}
	f := s.find(name)
	if f == nil {
		path := join(s.path, name)
		s.fields = append(s.fields, field{name: name, below: &section{what: path, path: path}})
		f = &s.fields[len(s.fields)-1]
	}
	f.below.add(rest, row)
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
	for _, row := range topRows(Default()) {
		_, name, _ := cutLast(row.Key)
		if strings.ReplaceAll(row.Flag, "-", "_") != word && name != word || row.Key == word && path == "" {
			continue
		}
		switch {
		case row.Where == Top && strings.Contains(path, "["):
			say(row.Key, "the top of the file")
		case row.Where == InPools && strings.HasPrefix(path, "listeners["):
			say(row.Key, "the pool")
		case row.Where == InListeners && strings.HasPrefix(path, "pools["):
			say(row.Key, "the listener")
		default:
			say(row.Key, "")
		}
	}
	switch word {
	case "address", "listen":
		say("address", "each listener")
	case "backends", "backend":
		say("backends", "each pool")
	case "routes", "default":
		say(word, "each listener")
	case "names", "alpn":
		say(word, "each route of a listener")
	case "weight", "max_conns":
		say(word, "each backend")
	case "listeners", "pools":
		say(word, "the top of the file")
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

// topRows is all that the top of a file can say, bound to c.
func topRows(c *Config) []Row { return rowsOf(Table(c), Top, InListeners, InPools) }

// keysOfFlags is what InKeys knows.
func keysOfFlags() map[string]string {
	keys := map[string]string{"listen": "listener", "backend": "backend"}
	for _, row := range topRows(Default()) {
		keys[row.Flag] = row.Key
	}
	return keys
}

// InKeys words a text that names settings as --tls=require for a file.
func InKeys(text string) string {
	known := keysOfFlags()
	return settingName.ReplaceAllStringFunc(text, func(name string) string {
		match := settingName.FindStringSubmatch(name)
		key := known[match[1]]
		switch {
		case key == "":
			return name
		case match[2] != "":
			return key + ": "
		}
		return key
	})
}

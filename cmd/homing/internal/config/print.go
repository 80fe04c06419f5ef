//go:build linux

package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"homing/balancer/pool"
	"homing/cmd/homing/internal/value"
)

// Print writes all that a configuration says as a file, which reads back as the same. What listeners and pools have in
// common with the top is not said again. Files that it names are not opened: no secret comes here.
func Print(c *Config) []byte {
	p := newPrinter()
	p.top(c)
	return p.out.Bytes()
}

// Hash tells one configuration from another: 16 hex digits.
func Hash(c *Config) string {
	sum := sha256.Sum256(Print(c))
	return hex.EncodeToString(sum[:8])
}

// printer writes YAML. With notes it explains each key where it comes first, and shows those that say nothing in a
// comment.
type printer struct {
	out   bytes.Buffer
	usual map[string]string // what the top has when nothing is said, by key
	notes bool
	noted map[string]bool // keys that were explained, by section and path
	depth int
	dash  bool // the next line that is no comment begins an entry of a list
}

func newPrinter() *printer {
	return &printer{usual: textsOf(topRows(Default())), noted: make(map[string]bool)}
}

func (p *printer) top(c *Config) {
	heads := func(in Where) string { return strings.Join(newSection("", "", rowsOf(Table(c), in)...).names(), ", ") }
	p.title("Where conns are accepted. What a listener does not say has the top of the file: " + heads(InListeners) + ".")
	p.list("listeners", len(c.Listeners), func(i int) { p.listener(c, &c.Listeners[i]) })
	p.title("Where they go. What a pool does not say has the top of the file: " + heads(InPools) + ".")
	p.list("pools", len(c.Pools), func(i int) { p.pool(c, &c.Pools[i]) })
	for _, group := range Table(c) {
		p.title(group.Title + ".")
		p.rows("", rowsOf([]Group{group}, Top, InListeners, InPools), nil)
	}
}

// title begins a part of an explained file.
func (p *printer) title(text string) {
	if p.notes {
		p.out.WriteString("\n# " + text + "\n")
	}
}

func (p *printer) listener(c *Config, l *Listener) {
	scratch := *c
	scratch.Listener = l.ListenerSettings
	own := *l
	if own.Name == own.Address {
		own.Name = ""
	}
	p.rows("listener", listenerRows(&own), textsOf(listenerRows(&Listener{})))
	p.list("routes", len(l.Routes), func(i int) { p.rows("route", routeRows(&l.Routes[i]), textsOf(routeRows(&Route{}))) })
	p.rows("listener", rowsOf(Table(&scratch), InListeners), textsOf(rowsOf(Table(c), InListeners)))
}

func (p *printer) pool(c *Config, one *Pool) {
	scratch := *c
	scratch.Pool = one.PoolSettings
	p.rows("pool", poolRows(one), textsOf(poolRows(&Pool{})))
	p.list("backends", len(one.Backends), func(i int) {
		p.rows("backend", backendRows(&one.Backends[i]), textsOf(backendRows(&pool.Spec{Weight: 1})))
	})
	p.rows("pool", rowsOf(Table(&scratch), InPools), textsOf(rowsOf(Table(c), InPools)))
}

// textsOf is what the values of rows are written as, by key.
func textsOf(rows []Row) map[string]string {
	texts := make(map[string]string, len(rows))
	for _, row := range rows {
		texts[row.Key] = write(row.Value)
	}
	return texts
}

// rows writes the rows of a section. Those that are as without says are left out; without it, those that have nothing to
// say.
func (p *printer) rows(section string, rows []Row, without map[string]string) {
	p.fields(section, newSection("", "", rows...).fields, without)
}

func (p *printer) fields(section string, fields []field, without map[string]string) {
	for _, f := range fields {
		if f.row != nil {
			p.row(section, f.name, f.row, without)
			continue
		}
		mark := "" // of a comment, where all below is one
		if !slices.ContainsFunc(f.below.fields, func(f field) bool { return !p.silent(f.row, without) }) {
			mark = "#"
		}
		if mark == "" || p.notes && without == nil {
			p.line(mark + f.name + ":")
			p.depth++
			p.fields(section, f.below.fields, without)
			p.depth--
		}
	}
}

// silent says that a row is not written.
func (p *printer) silent(row *Row, without map[string]string) bool {
	text := write(row.Value)
	if without != nil {
		usual, known := without[row.Key]
		return known && text == usual
	}
	return (text == "" || text == "[]") && text == p.usual[row.Key]
}

func (p *printer) row(section, name string, row *Row, without map[string]string) {
	switch {
	case !p.silent(row, without):
		p.line(p.note(section, row)...)
		text := write(row.Value)
		if text == "" {
			text = "''"
		}
		p.line(name + ": " + text)
	case p.notes && without == nil && row.Example != "":
		p.line(p.note(section, row)...)
		p.line("#" + name + ": " + row.exampleText())
	}
}

// note explains a row of a section, once.
func (p *printer) note(section string, row *Row) []string {
	key := section + ":" + row.Key
	if !p.notes || p.noted[key] {
		return nil
	}
	p.noted[key] = true
	text := strings.ReplaceAll(InKeys(row.Doc), "repeatable; ", "")
	if words := row.Value.Type(); strings.Contains(words, "|") && !strings.Contains(words, "[") {
		text += " (" + strings.ReplaceAll(words, "|", ", ") + ")"
	}
	if row.Fixed {
		text += "; needs a restart"
	}
	return []string{"# " + text}
}

// list writes a list of sections.
func (p *printer) list(name string, n int, entry func(i int)) {
	if n == 0 {
		return
	}
	p.line(name + ":")
	p.depth += 2
	for i := range n {
		p.dash = true
		entry(i)
	}
	p.depth -= 2
}

// line writes lines at the depth of now. The first one of an entry of a list that is no comment has its dash.
func (p *printer) line(texts ...string) {
	for _, text := range texts {
		indent := strings.Repeat("  ", p.depth)
		if p.dash {
			indent = strings.Repeat("  ", p.depth-1)
			if !strings.HasPrefix(text, "#") {
				text, p.dash = "- "+text, false
			}
		}
		p.out.WriteString(indent + text + "\n")
	}
}

// write is a value as YAML.
func write(v value.Value) string {
	list, several := v.(value.List)
	if !several {
		if text := v.String(); text != "" {
			return scalar(text)
		}
		return ""
	}
	var texts []string
	for _, text := range list.Texts() {
		texts = append(texts, scalar(text))
	}
	return "[" + strings.Join(texts, ", ") + "]"
}

// plain is what needs no quotes, not even in brackets.
var plain = regexp.MustCompile(`^[A-Za-z0-9_/.][A-Za-z0-9_/.+-]*(:[A-Za-z0-9_/.+-]+)*$|^:[0-9]+$`)

// scalar writes one value. It has no control characters, see reader.scalar and value.CheckPath.
func scalar(text string) string {
	switch strings.ToLower(text) {
	case "null", "~", ".inf", ".nan", "y", "n", "yes", "no":
	default:
		if plain.MatchString(text) {
			return text
		}
	}
	return "'" + strings.ReplaceAll(text, "'", "''") + "'"
}

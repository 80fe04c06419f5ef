// Package config is the configuration of `homing run`: what it says (Config), how it is written (a table of rows that the
// flags and the file share), and how a file is read, checked and printed.
//
// A setting is one row (rows.go; member.go and question.go have those that agents share). Out of the rows come the flags
// and their help (table.go, flags.go), the sections of a file (section.go) that the reader fills (parse.go, reader.go and
// nodes.go, which stand on the YAML library's tree) and the printer writes (print.go, example.go), and what a reload
// changes (diff.go). The words that values are made of are in words.go and package value. What no single row can see is in
// contradictions.go, and in check.go where it takes a place in the file to say it.
package config

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"homing/cmd/homing/internal/value"
)

// Row is one setting: the only place where its names, bounds and meaning stand. The default is what the value holds when
// the table is made.
type Row struct {
	Flag  string // "": a file alone can say it
	Key   string // in the file, as timeouts.hello; below the listener or the pool where Where says so. "": a flag alone
	Value value.Value
	Doc   string // one line, without a stop; names other settings by their flags, as --tls=require
	Where Where
	Fixed bool // a process keeps what it began with

	Example string // a value for the example of a file, where the default says nothing
}

// Where is the section of the file that has a setting.
type Where uint8

const (
	// Top is the top of the file, or the entry of a list that alone has the setting.
	Top Where = iota
	// InListeners is each listener, and the top for those that do not say otherwise.
	InListeners
	// InPools is each pool, and the top for those that do not say otherwise.
	InPools
)

func top(flag, key string, v value.Value, doc string) Row {
	return Row{Flag: flag, Key: key, Value: v, Doc: doc}
}

func listeners(flag, key string, v value.Value, doc string) Row {
	return Row{Flag: flag, Key: key, Value: v, Doc: doc, Where: InListeners}
}

func pools(flag, key string, v value.Value, doc string) Row {
	return Row{Flag: flag, Key: key, Value: v, Doc: doc, Where: InPools}
}

func (r Row) fixed() Row {
	r.Fixed = true
	return r
}

func (r Row) like(example string) Row {
	r.Example = example
	return r
}

// Group is rows that belong together.
type Group struct {
	Title string
	Rows  []Row
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

// settingName finds the settings that a text names, and a value behind an equals sign.
var settingName = regexp.MustCompile(`--([a-z][a-z0-9-]+)(=?)`)

// InFlags words a text that names settings as --tls=require for the command line.
func InFlags(text string) string {
	return settingName.ReplaceAllStringFunc(text, func(name string) string { return strings.Replace(name, "=", " ", 1) })
}

// Bind adds the flags of a table to a flag set.
func Bind(flags *pflag.FlagSet, table []Group) {
	for _, group := range table {
		for _, row := range group.Rows {
			flag := flags.VarPF(row.Value, row.Flag, "", InFlags(row.Doc))
			if row.Value.Type() == "" { // a switch, which needs no value
				flag.NoOptDefVal = "true"
			}
		}
	}
}

// PrintFlags writes the flags of a table: a flag and its unit, its meaning, its default.
func PrintFlags(w io.Writer, table []Group) {
	for _, group := range table {
		fmt.Fprintf(w, "\n%s:\n", group.Title)
		for _, row := range group.Rows {
			name, doc := strings.TrimSpace("--"+row.Flag+" "+row.Value.Type()), InFlags(row.Doc)
			if def := row.Value.String(); def != "" && def != "false" {
				doc += " (default " + def + ")"
			}
			if len(name) > 30 {
				fmt.Fprintln(w, " ", name)
				name = ""
			}
			fmt.Fprintf(w, "  %-30s  %s\n", name, doc)
		}
	}
}

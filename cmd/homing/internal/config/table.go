package config

import (
	"fmt"
	"io"
	"regexp"
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
	// Top is the top of the file.
	Top Where = iota
	// InListeners is each listener, and the top for those that do not say otherwise.
	InListeners
	// InPools is each pool, and the top for those that do not say otherwise.
	InPools
)

// Group is rows that belong together.
type Group struct {
	Title string
	Rows  []Row
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
			if row.Flag == "" {
				continue
			}
			flag := flags.VarPF(row.Value, row.Flag, "", InFlags(row.Doc))
			if b, ok := row.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
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
			if row.Flag == "" {
				continue
			}
			name := strings.TrimSpace("--" + row.Flag + " " + row.Value.Type())
			after := ""
			if def := row.Value.String(); def != "" && def != "false" {
				after = " (default " + def + ")"
			}
			if len(name) > 30 {
				fmt.Fprintf(w, "  %s\n  %30s  %s%s\n", name, "", InFlags(row.Doc), after)
				continue
			}
			fmt.Fprintf(w, "  %-30s  %s%s\n", name, InFlags(row.Doc), after)
		}
	}
}

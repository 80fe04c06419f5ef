package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagRow is one flag: the only place where its name, bounds and meaning stand. The default is what the value holds
// when the table is made.
type flagRow struct {
	name  string
	value pflag.Value
	doc   string
}

type flagGroup struct {
	title string
	rows  []flagRow
}

// bind adds the table to a flag set.
func bind(flags *pflag.FlagSet, table []flagGroup) {
	for _, group := range table {
		for _, row := range group.rows {
			flag := flags.VarPF(row.value, row.name, "", row.doc)
			if _, ok := row.value.(boolValue); ok {
				flag.NoOptDefVal = "true"
			}
		}
	}
}

// setHelp has the help of a command list a table of flags, with the defaults it holds now, and notes behind it.
func setHelp(cmd *cobra.Command, defaults []flagGroup, notes string) {
	cmd.SetHelpFunc(func(cmd *cobra.Command, _ []string) {
		w := cmd.OutOrStdout()
		fmt.Fprintf(w, "%s.\n\nUsage:\n  %s\n", cmd.Short, cmd.UseLine())
		printFlags(w, defaults)
		fmt.Fprint(w, notes)
	})
}

// printFlags writes the table: a flag and its unit, its meaning, its default.
func printFlags(w io.Writer, table []flagGroup) {
	for _, group := range table {
		fmt.Fprintf(w, "\n%s:\n", group.title)
		for _, row := range group.rows {
			name := strings.TrimSpace("--" + row.name + " " + row.value.Type())
			after := ""
			if def := row.value.String(); def != "" && def != "false" {
				after = " (default " + def + ")"
			}
			if len(name) > 30 {
				fmt.Fprintf(w, "  %s\n  %30s  %s%s\n", name, "", row.doc, after)
				continue
			}
			fmt.Fprintf(w, "  %-30s  %s%s\n", name, row.doc, after)
		}
	}
}

//go:build linux

package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"homing/bench/report"
	"homing/cmd/internal/usage"
)

func newReportCommand() *cobra.Command {
	var html string
	cmd := &cobra.Command{
		Use:   "report FILE.json [FILE.json...]",
		Short: "Draw what compare has measured again, several runs side by side",
		Long: `Reads files that homing-bench compare --json has written, prints their tables and, with --html, draws them on one page:
several runs stand beside each other in every chart, with the letters A, B and so on in the order of the files.`,
		Example: `  homing-bench report before.json after.json --html both.html`,
		GroupID: groupTool,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("report needs a file that homing-bench compare --json has written")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			var reports []*report.Report
			for _, path := range args {
				r, err := report.Read(path)
				if err != nil {
					return err
				}
				reports = append(reports, r)
			}
			out := &outputs{html: html}
			if err := out.create(); err != nil {
				return err
			}
			defer out.discard()
			for i, r := range reports {
				if len(reports) > 1 {
					fmt.Fprintf(cmd.OutOrStdout(), "%s%c: %s\n", map[bool]string{true: "\n"}[i > 0], 'A'+rune(i%26), args[i])
				}
				if err := r.WriteText(cmd.OutOrStdout()); err != nil {
					return usage.Failed(err)
				}
			}
			if len(reports) > 1 {
				if err := report.WriteBeside(cmd.OutOrStdout(), reports...); err != nil {
					return usage.Failed(err)
				}
			}
			return usage.Failed(out.write(reports...))
		},
	}
	cmd.Flags().StringVar(&html, "html", "", "write a page with charts to this file")
	return cmd
}

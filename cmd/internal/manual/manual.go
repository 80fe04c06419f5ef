// Package manual writes the manual pages of a command, for the packages. It writes the markdown that go-md2man makes pages of:
// what that needs would be memory of each process that has this command.
package manual

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// NewCommand is a hidden command that writes a page for each command of the root that it is added to, and further ones.
func NewCommand(version string, further ...*Page) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the markdown of a manual page for each command",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			date, err := sourceDate()
			if err != nil {
				return err
			}
			root := cmd.Root()
			source := root.Name() + " " + version
			pages := further
			each(root, func(cmd *cobra.Command) {
				if cmd.Short != "" { // else it only lends its name
					pages = append(pages, pageOf(cmd))
				}
			})
			for _, p := range pages {
				file := filepath.Join(args[0], fmt.Sprintf("%s.%d.md", p.Name, p.Section))
				if err := os.WriteFile(file, p.markdown(source, date), 0o644); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// each visits a command and those below it that are not hidden.
func each(cmd *cobra.Command, visit func(*cobra.Command)) {
	cmd.InitDefaultHelpFlag()
	visit(cmd)
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			each(sub, visit)
		}
	}
}

// sourceDate is SOURCE_DATE_EPOCH, by which builds can be repeated
// (https://reproducible-builds.org/specs/source-date-epoch), or today.
func sourceDate() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Now(), nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH=%s is no number of seconds", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}

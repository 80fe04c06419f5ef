// Package manual writes the manual pages of a command, for the packages.
package manual

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// NewCommand is a hidden command that writes a page for each command of the root that it is added to.
func NewCommand(version string) *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write a manual page for each command",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			date, err := sourceDate()
			if err != nil {
				return err
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // the date is in the header, and the same for the same source
			header := &doc.GenManHeader{Section: "1", Source: root.Name() + " " + version, Manual: root.Name(), Date: &date}
			return doc.GenManTree(root, header, args[0])
		},
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

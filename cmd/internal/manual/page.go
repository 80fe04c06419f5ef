package manual

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Notes is the annotation of a command whose text stands at the end of its help: signals, files, exit codes.
const Notes = "notes"

// Page is one manual page.
type Page struct {
	Name    string // as homing-run
	Section int    // 1: a command, 5: a file
	Short   string // one line
	Body    string // markdown, below the head
}

// markdown is the whole page, as go-md2man reads it.
func (p *Page) markdown(source string, date time.Time) []byte {
	head := fmt.Sprintf("%% %q %q %q %q %q\n\n# NAME\n\n%s - %s\n\n",
		strings.ToUpper(p.Name), fmt.Sprint(p.Section), date.Format("Jan 2006"), source, "", p.Name, escape(p.Short))
	return []byte(head + p.Body)
}

// pageOf is the page of a command: all that its help says, and the commands around it.
func pageOf(cmd *cobra.Command) *Page {
	var b strings.Builder
	fmt.Fprintf(&b, "# SYNOPSIS\n\n**%s**%s\n\n", cmd.CommandPath(),
		escape(strings.TrimPrefix(cmd.UseLine(), cmd.CommandPath())))
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	b.WriteString("# DESCRIPTION\n\n" + paragraphs(about))
	if cmd.HasAvailableSubCommands() {
		b.WriteString("# COMMANDS\n\n")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, "**%s**\n: %s\n\n", sub.Name(), escape(sub.Short))
			}
		}
	}
	if cmd.HasAvailableFlags() {
		b.WriteString("# OPTIONS\n\n")
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				b.WriteString(option(f))
			}
		})
	}
	if notes := cmd.Annotations[Notes]; notes != "" {
		b.WriteString("# NOTES\n\n" + paragraphs(notes))
	}
	if cmd.Example != "" {
		b.WriteString("# EXAMPLE\n\n```\n" + cmd.Example + "\n```\n\n")
	}
	b.WriteString("# SEE ALSO\n\n" + strings.Join(seeAlso(cmd), ", ") + "\n")
	return &Page{Name: nameOf(cmd), Section: 1, Short: cmd.Short, Body: b.String()}
}

// option is a flag, what it takes, its meaning and its default.
func option(f *pflag.Flag) string {
	name := "**--" + f.Name + "**"
	if f.Shorthand != "" {
		name = "**-" + f.Shorthand + "**, " + name
	}
	kind, meaning := pflag.UnquoteUsage(f)
	if f.NoOptDefVal == "" && kind != "" {
		name += " *" + escape(kind) + "*"
	}
	if d := f.DefValue; d != "" && d != "false" && d != "[]" {
		meaning += " (default " + d + ")"
	}
	return name + "\n: " + escape(meaning) + "\n\n"
}

func seeAlso(cmd *cobra.Command) (pages []string) {
	if cmd.HasParent() {
		pages = append(pages, "**"+nameOf(cmd.Parent())+"**(1)")
	}
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			pages = append(pages, "**"+nameOf(sub)+"**(1)")
		}
	}
	if cmd.Root().Annotations[SeeAlso] != "" {
		pages = append(pages, cmd.Root().Annotations[SeeAlso])
	}
	return pages
}

// SeeAlso is the annotation of a root command that names a page which every other one points at.
const SeeAlso = "see-also"

func nameOf(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// paragraphs keeps the lines of a text apart where they stand apart in the help: each line that ends a sentence ends a
// paragraph, and indented ones are literal.
func paragraphs(text string) string {
	var b strings.Builder
	literal := false
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		indented := strings.HasPrefix(line, "  ")
		if indented != literal {
			b.WriteString("\n```\n")
			if !indented {
				b.WriteString("\n")
			}
			literal = indented
		}
		if literal {
			b.WriteString(line + "\n")
			continue
		}
		b.WriteString(escape(line) + "\n")
		if end := strings.TrimRight(line, " "); strings.HasSuffix(end, ".") || strings.HasSuffix(end, ":") {
			b.WriteString("\n")
		}
	}
	if literal {
		b.WriteString("```\n")
	}
	return b.String() + "\n"
}

// special are the characters that markdown reads as its own.
var special = regexp.MustCompile("[\\\\`*_{}\\[\\]<>#|]")

func escape(s string) string { return special.ReplaceAllString(s, `\$0`) }

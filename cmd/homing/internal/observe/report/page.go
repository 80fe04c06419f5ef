package report

import (
	_ "embed" // the page's template and style
	"fmt"
	"html/template"
	"io"

	"homing/cmd/homing/internal/observe/judge"
)

//go:embed page.html
var pageTemplate string

//go:embed page.css
var pageStyle string

// page is what the template draws.
type page struct {
	Headline string
	Hero     *bar
	Style    template.CSS
	Sections []pageSection
}

// pageSection is a section as the template wants it.
type pageSection struct {
	section
	Bars bool
}

// Left reports whether a column has words.
func (s pageSection) Left(column int) bool { return s.left(column) }

// WriteHTML draws the report as one page that needs nothing beside itself.
func WriteHTML(w io.Writer, f *judge.Findings) error {
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return fmt.Errorf("parse the page: %w", err)
	}
	p := page{Headline: Headline(f), Style: template.CSS(pageStyle)} // our own file
	if f.Total.Accepted+f.Total.Lost > 0 {
		p.Hero = outcomeCells(&f.Total).Bar
	}
	for _, s := range sections(f) {
		part := pageSection{section: s}
		for _, r := range s.Rows {
			part.Bars = part.Bars || r.Bar != nil
		}
		p.Sections = append(p.Sections, part)
	}
	if err := t.Execute(w, &p); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

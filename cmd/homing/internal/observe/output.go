package observe

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"homing/cmd/homing/internal/observe/capture"
	"homing/cmd/homing/internal/observe/judge"
	"homing/cmd/homing/internal/observe/report"
)

// outputs is where the findings go.
type outputs struct {
	stdout     io.Writer
	terminal   bool
	toFile     bool // stdout is one
	json, html *os.File
	jsonOut    bool // JSON on stdout, instead of the text
	anonymize  anonymity
	key        []byte
	files      []string // names of captures
}

// openOutputs opens all files, so that a run that cannot be told of does not begin.
func openOutputs(o *options, stdout io.Writer) (out *outputs, err error) {
	out = &outputs{
		stdout: stdout, terminal: isTerminal(stdout), jsonOut: o.json == "-", anonymize: o.anonymize,
		key: hashKey(o.anonymizeKey), files: o.files,
	}
	if f, ok := stdout.(*os.File); ok {
		info, err := f.Stat()
		out.toFile = err == nil && info.Mode().IsRegular()
	}
	if o.json != "" && !out.jsonOut {
		if out.json, err = os.OpenFile(o.json, os.O_CREATE|os.O_WRONLY, 0o640); err != nil {
			return nil, fmt.Errorf("--json: %w", err)
		}
	}
	if o.html != "" {
		if out.html, err = os.OpenFile(o.html, os.O_CREATE|os.O_WRONLY, 0o640); err != nil {
			return nil, errors.Join(fmt.Errorf("--html: %w", err), out.close())
		}
	}
	if err := out.distinct(); err != nil {
		return nil, errors.Join(err, out.close())
	}
	return out, nil
}

// distinct refuses to write over a capture, or one report over the other.
func (out *outputs) distinct() error {
	var before os.FileInfo
	if f, ok := out.stdout.(*os.File); ok && out.toFile {
		before, _ = f.Stat()
	}
	for _, to := range []struct {
		flag string
		file *os.File
	}{{"--json", out.json}, {"--html", out.html}} {
		if to.file == nil {
			continue
		}
		info, err := to.file.Stat()
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", to.flag, err)
		case !info.Mode().IsRegular():
			continue
		case before != nil && os.SameFile(before, info):
			return fmt.Errorf("%s %s is what the report, or another form of it, is written to: give another name", to.flag, to.file.Name())
		}
		before = info
		for _, name := range out.files {
			if of, err := os.Stat(name); name != capture.Stdin && err == nil && os.SameFile(info, of) {
				return fmt.Errorf("%s %s is the capture itself: give another name", to.flag, to.file.Name())
			}
		}
	}
	return nil
}

// writeFile writes a report. What an earlier run has left goes only now that there is something to put in its place.
func writeFile(f *os.File, found *judge.Findings, write func(io.Writer, *judge.Findings) error) error {
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		if err := f.Truncate(0); err != nil {
			return fmt.Errorf("empty %s: %w", f.Name(), err)
		}
	}
	return write(f, found)
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && f.Name() != os.DevNull && os.Getenv("TERM") != "dumb"
}

// hashKey is the secret of the hashes: what is given, else what this machine is known by to itself (machine-id(5), which
// is not to be told), else one that nobody has.
func hashKey(given string) []byte {
	secret := []byte(given)
	if given == "" {
		id, err := os.ReadFile("/etc/machine-id")
		if err != nil || len(id) < 16 {
			id = []byte(rand.Text())
		}
		secret = id
	}
	sum := sha256.Sum256(append([]byte("homing observe\x00"), secret...))
	return sum[:]
}

// hide puts hashes in place of what is not to be told there.
func (out *outputs) hide(f *judge.Findings, file bool) *judge.Findings {
	if out.anonymize == anonymizeOn || out.anonymize == anonymizeAuto && file {
		return report.Anonymize(f, out.key, out.files...)
	}
	return f
}

// write tells all outputs.
func (out *outputs) write(f *judge.Findings) error {
	var errs []error
	here := out.hide(f, out.toFile)
	if out.jsonOut {
		errs = append(errs, report.WriteJSON(out.stdout, here))
	} else {
		if out.terminal {
			out.screen("") // what watch has left
		}
		errs = append(errs, report.WriteText(out.stdout, here))
	}
	if out.json != nil {
		errs = append(errs, writeFile(out.json, out.hide(f, true), report.WriteJSON))
	}
	if out.html != nil {
		errs = append(errs, writeFile(out.html, out.hide(f, true), report.WriteHTML))
	}
	return errors.Join(errs...)
}

// screen shows a text: in a terminal in place of the one before.
func (out *outputs) screen(text string) {
	if text == "" {
		return
	}
	if out.terminal && runtime.GOOS != "windows" { // whose consoles have to be told first that these are no letters
		text = "\x1b[H\x1b[J" + text
	} else {
		text += "\n"
	}
	fmt.Fprint(out.stdout, text)
}

func (out *outputs) close() error {
	var errs []error
	for _, f := range []*os.File{out.json, out.html} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

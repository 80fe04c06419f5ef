//go:build linux

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/procfs"

	"homing/bench/report"
)

// outputs are the files that a report is written to: first beside their place, then there at once, so that neither an
// interrupt nor a full disk leaves half a file where there was a whole one.
type outputs struct {
	json, html string // paths; empty: not wanted
	files      []*os.File
}

// create makes the files, so that a directory that cannot be written to is told at the beginning.
func (o *outputs) create() error {
	for _, path := range []string{o.json, o.html} {
		var f *os.File
		if path != "" {
			var err error
			if f, err = os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*"); err != nil {
				o.discard()
				return fmt.Errorf("%s cannot be written: %w", path, err)
			}
		}
		o.files = append(o.files, f)
	}
	return nil
}

// write fills the files and puts them in their places.
func (o *outputs) write(reports ...*report.Report) error {
	var errs []error
	for i, path := range []string{o.json, o.html} {
		f := o.files[i]
		if f == nil {
			continue
		}
		w := bufio.NewWriter(f)
		var err error
		if i == 0 {
			err = reports[0].WriteJSON(w)
		} else {
			err = report.WriteHTML(w, reports...)
		}
		err = errors.Join(err, w.Flush(), f.Chmod(0o644), f.Close())
		if err == nil {
			err = os.Rename(f.Name(), path)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("write %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

// discard removes what did not get into its place.
func (o *outputs) discard() {
	for _, f := range o.files {
		if f != nil {
			_ = f.Close()           // written already, or of no use
			_ = os.Remove(f.Name()) // gone already when it is in its place
		}
	}
}

// systemName is the distribution's own name; empty where it does not tell.
func systemName() string {
	b, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return ""
}

// memoryBytes is the machine's memory; 0 where the kernel does not tell.
func memoryBytes() int64 {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0
	}
	m, err := fs.Meminfo()
	if err != nil || m.MemTotalBytes == nil {
		return 0
	}
	return int64(*m.MemTotalBytes) // no machine has as much
}

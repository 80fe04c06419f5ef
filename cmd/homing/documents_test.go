//go:build linux

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"homing/cmd/homing/internal/config"
)

// documents are the texts of the repository that people read, by path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "dist"):
			return filepath.SkipDir
		case filepath.Ext(path) == ".md":
			text, err := os.ReadFile(path)
			texts[path] = string(text)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// TestDocumentsConfiguration reads every configuration that a document prints as homing run would: the blocks as whole
// files, and a key with its value in the running text as part of a pool or of the top.
func TestDocumentsConfiguration(t *testing.T) {
	keys := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^[# ]*(?:- )?([a-z0-9_]+):`).FindAllStringSubmatch(string(config.Example()), -1) {
		keys[m[1]] = true
	}
	blocks, phrases := 0, 0
	for path, text := range documents(t) {
		for _, m := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```").FindAllStringSubmatch(text, -1) {
			blocks++
			if _, err := config.Parse(path, []byte(m[1]), nil); err != nil {
				t.Errorf("%s:\n%s%v", path, m[1], err)
			}
		}
		for _, m := range regexp.MustCompile("`(([a-z0-9_]+): [^`\n]+)`").FindAllStringSubmatch(text, -1) {
			if !keys[m[2]] {
				continue // of another program
			}
			phrases++
			const rest = "listeners: [{address: ':443', default: p}]\n"
			_, ofPool := config.Parse(path, []byte(rest+"pools: [{name: p, backends: [{address: '192.0.2.1:443'}], "+m[1]+"}]"), nil)
			_, ofTop := config.Parse(path, []byte(rest+"pools: [{name: p, backends: [{address: '192.0.2.1:443'}]}]\n"+m[1]), nil)
			if ofPool != nil && ofTop != nil {
				t.Errorf("%s: `%s` is refused, in a pool: %v\nand at the top: %v", path, m[1], ofPool, ofTop)
			}
		}
	}
	if blocks < 2 || phrases < 2 {
		t.Errorf("only %d blocks and %d phrases were found", blocks, phrases)
	}
}

// TestDocumentsNames finds the flags, metrics and files that the documents beside the README name.
func TestDocumentsNames(t *testing.T) {
	flags := commandFlags()
	for path, text := range documents(t) {
		dir := filepath.Dir(path)
		if dir == root || strings.Contains(path, "bench") || strings.Contains(path, "testdata") {
			continue // the README has a test of its own, the others are of other programs
		}
		ours := regexp.MustCompile("(?m)^pktmon .*$").ReplaceAllString(text, "")
		for _, m := range regexp.MustCompile("(?m)[` ]--([a-z][a-z-]+)").FindAllStringSubmatch(ours, -1) {
			if !flags[m[1]] {
				t.Errorf("%s says --%s, there is no such flag", path, m[1])
			}
		}
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil {
				t.Errorf("%s links to %s: %v", path, m[1], err)
			}
		}
	}
}

// TestRemedies finds the flags that the remedies of shortages name, and has the file take the keys of a listener.
func TestRemedies(t *testing.T) {
	flags := commandFlags()
	text, err := os.ReadFile(filepath.Join(root, "cmd/homing/internal/shortage/causes.go"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("--([a-z][a-z-]+)").FindAllStringSubmatch(string(text), -1)
	for _, m := range named {
		if !flags[m[1]] {
			t.Errorf("a remedy says --%s, there is no such flag", m[1])
		}
	}
	keys := regexp.MustCompile(`\(([a-z_]+) of the listener\)`).FindAllStringSubmatch(string(text), -1)
	for _, m := range keys {
		file := "listeners: [{address: ':443', default: p, " + m[1] + ": 1}]\n" +
			"pools: [{name: p, backends: [{address: '192.0.2.1:443'}]}]\n"
		if _, err := config.Parse(m[1], []byte(file), nil); err != nil {
			t.Errorf("a remedy says %s of the listener: %v", m[1], err)
		}
	}
	if len(named) < 10 || len(keys) == 0 {
		t.Errorf("only %d flags and %d keys were found", len(named), len(keys))
	}
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "homing"

// testKit is what tests share.
const testKit = "bench/testkit"

// allowedEdges is the import graph of the house plan: imports go downward only. What is not listed may not be imported.
// homing/x is the package x below cmd/homing/internal. The packages of bench are one box, and "bench" stands for them all:
// nothing that is shipped as homing knows of it; likewise cmd/internal, which is of both commands.
var allowedEdges = map[string][]string{
	"tlsparse":                {},
	"balancer/affinity":       {},
	"balancer/netaddr":        {},
	"balancer/pool":           {"balancer/netaddr", "balancer/affinity"}, // what a home is
	"balancer/internal/netio": {"balancer/netaddr"},
	"balancer/proxyheader":    {},
	"balancer/rules":          {"balancer/affinity", "balancer/pool"},
	"balancer":                {"tlsparse", "balancer/affinity", "balancer/netaddr", "balancer/pool", "balancer/rules", "balancer/internal/netio", "balancer/proxyheader"},
	"balancer/health":         {"balancer/netaddr", "balancer/pool", "balancer/affinity", "balancer/proxyheader"},
	"cluster/bound":           {},
	"cluster/replica":         {"balancer/affinity", "cluster/bound"}, // of members it knows nothing
	"cluster":                 {"balancer/netaddr", "balancer/pool", "cluster/bound"},
	"bench":                   {},
	"cmd/homing-bench":        {"bench", "cmd/internal"},
	"cmd/internal":            {},

	"cmd/homing": {"homing/admin", "homing/agent", "homing/config", "homing/logging", "homing/logref", "homing/operate", "homing/service", "homing/transparent", "cmd/internal"},

	"cmd/homing/homing-observe": {"homing/observe"},
	"cmd/homing/integration":    {},

	"homing/task":    {},
	"homing/api":     {},
	"homing/value":   {"homing/api"},
	"homing/logging": {"homing/value"},
	"homing/config":  {"balancer", "balancer/affinity", "balancer/health", "balancer/netaddr", "balancer/pool", "cluster", "tlsparse", "homing/api", "homing/value", "cmd/internal"},
	"homing/member":  {"cluster", "homing/config", "homing/value"},

	// What concerns the data plane knows nothing of commands, and they nothing of it: an operator's know its API, and an
	// agent knows its cluster.
	"homing/upgrade":  {"balancer", "balancer/netaddr"},
	"homing/shortage": {"balancer", "homing/api"},
	"homing/logref":   {"balancer", "balancer/affinity", "balancer/netaddr"},
	"homing/admin":    {"balancer", "balancer/affinity", "balancer/health", "balancer/pool", "balancer/rules", "cluster", "cluster/bound", "cluster/replica", "tlsparse", "homing/api", "homing/task"},
	"homing/agent":    {"balancer/health", "balancer/netaddr", "cluster", "homing/config", "homing/logging", "homing/member", "homing/task", "homing/value", "cmd/internal"},
	"homing/operate":  {"balancer/pool", "cluster", "homing/api", "homing/config", "homing/member", "homing/value", "cmd/internal"},

	// What looks at others' traffic knows nothing of a running homing.
	"homing/observe":         {"homing/api", "homing/value", "homing/observe/capture", "homing/observe/flow", "homing/observe/judge", "homing/observe/report", "cmd/internal"},
	"homing/observe/judge":   {"tlsparse", "balancer/affinity", "homing/observe/flow"},
	"homing/observe/report":  {"balancer/affinity", "homing/observe/judge"},
	"homing/observe/capture": {},

	"homing/transparent": {"balancer", "homing/value", "cmd/internal"},

	// Who observes reads as the balancer reads.
	"homing/observe/flow": {"tlsparse", "balancer/proxyheader", "homing/observe/capture"},

	"homing/service": {
		"balancer", "balancer/affinity", "balancer/health", "balancer/netaddr", "balancer/pool", "cluster", "cluster/replica",
		"homing/admin", "homing/api", "homing/config", "homing/logging", "homing/logref", "homing/member", "homing/shortage", "homing/task", "homing/upgrade", "cmd/internal",
	},
}

// onlyStd names the packages that stand on the standard library alone, but for what is listed.
var onlyStd = map[string][]string{
	"tlsparse":          {},
	"balancer/affinity": {"github.com/cespare/xxhash/v2", "golang.org/x/sys/unix"},
	"balancer/netaddr":  {},
}

// topLevel is what the top of the repository holds, beside dotfiles and what .gitignore names.
var topLevel = []string{
	"LICENSE", "Makefile", "README.md", "balancer", "bench", "cluster", "cmd", "go.mod", "go.sum", "tlsparse",
}

func TestLayeringTopLevel(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if name := e.Name(); !strings.HasPrefix(name, ".") && name != "bin" && name != "dist" {
			got = append(got, name)
		}
	}
	if diff := cmp.Diff(topLevel, got); diff != "" {
		t.Errorf("top level (-want +got):\n%s", diff)
	}
}

func TestLayeringEdges(t *testing.T) {
	for _, pkg := range listPackages(t) {
		if pkg.Doc == "" {
			t.Errorf("%s has no package comment", pkg.ImportPath)
		}
		name := strings.TrimPrefix(pkg.ImportPath, module+"/")
		allowed, known := allowedEdges[house(name)]
		if !known {
			t.Errorf("%s is not in the house plan", pkg.ImportPath)
		}
		for _, imported := range pkg.Imports {
			if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
				if ours == testKit {
					t.Errorf("%s imports %s, which is for tests alone", name, ours)
				}
				if house(ours) != house(name) && !slices.Contains(allowed, ours) && !slices.Contains(allowed, house(ours)) {
					t.Errorf("%s may not import %s", name, ours)
				}
				continue
			}
			std, _, _ := strings.Cut(imported, "/")
			extra, limited := onlyStd[name]
			if limited && strings.Contains(std, ".") && !slices.Contains(extra, imported) {
				t.Errorf("%s may not import %s", name, imported)
			}
		}
	}
}

// What is shipped as homing holds nothing of the harness, by whatever way: no client of tests, no server of tests.
func TestLayeringProduct(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/homing")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	list := strings.Fields(string(out))
	if !slices.Contains(list, module+"/balancer") {
		t.Fatalf("homing stands on %q, without its balancer", list)
	}
	for _, pkg := range list {
		if house(strings.TrimPrefix(pkg, module+"/")) == "bench" {
			t.Errorf("%s is part of homing", pkg)
		}
	}
}

// TestLayeringKernel: who may not talk to the kernel does not import what does.
func TestLayeringKernel(t *testing.T) {
	eachSource(t, func(name string, file *ast.File) {
		if strings.HasSuffix(name, "_test.go") || mayTouchKernel(name) {
			return
		}
		for _, spec := range file.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			if imported == "syscall" || imported == "unsafe" || strings.HasPrefix(imported, "golang.org/x/sys/") {
				t.Errorf("%s may not import %s", name, imported)
			}
		}
	})
}

// TestLayeringNolint: nothing is said to a linter that is not asked.
func TestLayeringNolint(t *testing.T) {
	config, err := os.ReadFile(filepath.Join(root, ".golangci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	_, enabled, _ := strings.Cut(string(config), "enable:")
	enabled, _, _ = strings.Cut(enabled, "settings:")
	suppression := regexp.MustCompile(`^//nolint:([a-z]+)`)
	eachSource(t, func(name string, file *ast.File) {
		for _, group := range file.Comments {
			for _, comment := range group.List {
				if m := suppression.FindStringSubmatch(comment.Text); m != nil && !strings.Contains(enabled, "- "+m[1]+" ") &&
					!strings.Contains(enabled, "- "+m[1]+"\n") {
					t.Errorf("%s: %s is not enabled, so say the reason alone: %s", name, m[1], comment.Text)
				}
			}
		}
	})
}

// eachSource reads every source file, also those that this platform does not build.
func eachSource(t *testing.T, visit func(name string, file *ast.File)) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && (strings.HasPrefix(d.Name(), ".") || name == "bin" || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return fmt.Errorf("parse %s: %w", name, err)
		}
		visit(filepath.ToSlash(name), file)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func mayTouchKernel(name string) bool {
	mapping, _ := filepath.Match("balancer/affinity/mapping_*.go", name)
	return mapping || strings.HasPrefix(name, "balancer/internal/netio/") || strings.HasPrefix(name, "bench/sock/") ||
		strings.HasPrefix(name, "bench/proc/") || strings.HasPrefix(name, "cmd/")
}

// house names the box of the plan that a package belongs to.
func house(name string) string {
	if ours, ok := strings.CutPrefix(name, "cmd/homing/internal/"); ok {
		return "homing/" + ours
	}
	for _, box := range []string{"bench", "cmd/homing-bench", "cmd/internal"} {
		if strings.HasPrefix(name, box+"/") {
			return box
		}
	}
	return name
}

type listedPackage struct {
	ImportPath, Doc string
	Imports         []string
}

func listPackages(t *testing.T) []listedPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Doc,Imports", "./...")
	cmd.Dir, cmd.Stderr = root, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listedPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg listedPackage
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, pkg)
	}
	return packages
}

package balancers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"homing/bench/proc"
)

// Paths name programs; an empty one is looked for beside this program (homing), in PATH and in /usr/sbin.
type Paths struct{ Homing, HAProxy, Nginx string }

// Program is one program that takes part.
type Program struct {
	Name    string `json:"name"`
	Path    string `json:"path"`
	Version string `json:"version"`
}

// Absent is a balancer that cannot take part, and why.
type Absent struct {
	Key  string `json:"key"`
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Kit is what is installed.
type Kit struct {
	programs map[string]Program // by family
	missing  map[string]string  // why a family has no program
	engines  []string           // what homing's --engine takes; none: it has no such flag
	module   string             // of nginx's streams, to be loaded; empty: built in
	noStream string             // why nginx has no streams
}

// NewKit looks for the programs and asks them for their versions. A path that was given and does not work is an error;
// what is not installed is told by Choose.
func NewKit(ctx context.Context, p Paths) (*Kit, error) {
	k := &Kit{programs: map[string]Program{}, missing: map[string]string{}}
	for _, f := range []struct{ family, path, install string }{
		{FamilyHoming, p.Homing, "name the binary with --homing"},
		{FamilyHAProxy, p.HAProxy, "apt-get install haproxy"},
		{FamilyNginx, p.Nginx, "apt-get install nginx libnginx-mod-stream"},
	} {
		path, err := find(f.family, f.path)
		if err != nil {
			if f.path != "" {
				return nil, fmt.Errorf("--%s %s: %w", f.family, f.path, err)
			}
			k.missing[f.family] = fmt.Sprintf("%s is not installed: %s", f.family, f.install)
			continue
		}
		version, err := versionOf(ctx, f.family, path)
		if err != nil {
			if f.path != "" {
				return nil, fmt.Errorf("--%s %s: %w", f.family, f.path, err)
			}
			k.missing[f.family] = fmt.Sprintf("%s does not tell its version: %v", path, err)
			continue
		}
		k.programs[f.family] = Program{Name: f.family, Path: path, Version: version}
	}
	if h, ok := k.programs[FamilyHoming]; ok {
		k.engines = enginesOf(output(ctx, h.Path, "run", "-h"))
	}
	if n, ok := k.programs[FamilyNginx]; ok {
		k.module, k.noStream = streamModule(output(ctx, n.Path, "-V"), isFile)
	}
	return k, nil
}

// Programs lists what was found, in the order of All.
func (k *Kit) Programs() []Program {
	var list []Program
	for _, family := range []string{FamilyHoming, FamilyHAProxy, FamilyNginx} {
		if p, ok := k.programs[family]; ok {
			list = append(list, p)
		}
	}
	return list
}

// Choose parts what is asked for into what can take part and what cannot: balancers, or all of a family whose program is
// not there. Where homing lets its engine be chosen there is one balancer for each engine, else one.
func (k *Kit) Choose(asked []Balancer) (present []Balancer, absent []Absent) {
	named := slices.ContainsFunc(asked, func(b Balancer) bool { return b.engine != "" && slices.Contains(k.engines, b.engine) })
	for _, b := range asked {
		if b.Key == Homing && named {
			continue // those with a name stand for it
		}
		gone := Absent{Key: b.Family, Name: b.Family, Why: k.missing[b.Family]}
		switch {
		case gone.Why != "":
		case b.Family == FamilyNginx && k.noStream != "":
			gone.Why = k.noStream
		case b.engine != "" && !slices.Contains(k.engines, b.engine):
			gone = Absent{Key: b.Key, Name: b.Name, Why: fmt.Sprintf("%s has no engine %s to choose", k.programs[b.Family].Path, b.engine)}
		default:
			present = append(present, b)
			continue
		}
		if !slices.Contains(absent, gone) {
			absent = append(absent, gone)
		}
	}
	return present, absent
}

// find returns the absolute path of a program.
func find(name, given string) (string, error) {
	if given != "" {
		path, err := exec.LookPath(given)
		if err != nil {
			return "", fmt.Errorf("no such program: %w", err)
		}
		return filepath.Abs(path)
	}
	if self, err := os.Executable(); err == nil && name == FamilyHoming {
		if path, err := exec.LookPath(filepath.Join(filepath.Dir(self), name)); err == nil {
			return filepath.Abs(path)
		}
	}
	return proc.Find(name)
}

// versionOf asks a program for its version, which it tells in its own words.
func versionOf(ctx context.Context, family, path string) (string, error) {
	words := map[string]struct {
		arg     string
		pattern *regexp.Regexp
	}{
		FamilyHoming:  {"version", regexp.MustCompile(`(?m)^homing (\S+)`)},
		FamilyHAProxy: {"-v", regexp.MustCompile(`(?m)^HA-?Proxy version (\S+)`)},
		FamilyNginx:   {"-v", regexp.MustCompile(`(?m)^nginx version: \w+/(\S+)`)},
	}[family]
	text := output(ctx, path, words.arg)
	if m := words.pattern.FindStringSubmatch(text); m != nil {
		return m[1], nil
	}
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return "", fmt.Errorf("%s %s printed %q: that is no %s", path, words.arg, line, family)
}

// output is what a program prints when it is asked something, on stdout and stderr; how it ends does not matter.
func output(ctx context.Context, path string, args ...string) string {
	b, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil && len(b) == 0 {
		return err.Error()
	}
	return string(b)
}

// enginesOf finds the row of --engine in homing's help: "--engine auto|io_uring|epoll".
func enginesOf(help string) []string {
	m := regexp.MustCompile(`(?m)^\s+--engine (\S+)`).FindStringSubmatch(help)
	if m == nil {
		return nil
	}
	return strings.Split(m[1], "|")
}

// streamModule reads nginx -V: whether streams are built in, or where the module is to be loaded from.
func streamModule(build string, exists func(string) bool) (path, why string) {
	flags := strings.Fields(build)
	if slices.Contains(flags, "--with-stream") {
		return "", ""
	}
	if !slices.Contains(flags, "--with-stream=dynamic") {
		return "", "this nginx is built without streams (--with-stream)"
	}
	dir := "/usr/lib/nginx/modules"
	for _, f := range flags {
		if v, ok := strings.CutPrefix(f, "--modules-path="); ok {
			dir = v
		}
	}
	path = filepath.Join(dir, "ngx_stream_module.so")
	if !exists(path) {
		return "", fmt.Sprintf("nginx has no %s: apt-get install libnginx-mod-stream", path)
	}
	return path, ""
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

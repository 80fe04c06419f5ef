//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"homing/cmd/internal/usage"
)

// metricLabels are the metrics that this command can print, with their labels.
func metricLabels(t *testing.T) map[string][]string {
	t.Helper()
	var out bytes.Buffer
	if code := usage.Execute(t.Context(), newRootCommand(), []string{"metrics"}, &out, io.Discard); code != usage.ExitOK {
		t.Fatalf("homing metrics ended with %d", code)
	}
	known := map[string][]string{
		"up": {"job"}, "process_cpu_seconds_total": nil, "process_resident_memory_bytes": nil, // Prometheus's and its client's own
	}
	for line := range strings.Lines(out.String()) {
		if f := strings.Fields(line); len(f) > 3 {
			known[f[0]] = strings.Split(f[2], ",")
			if f[1] == "histogram" {
				known[f[0]+"_sum"], known[f[0]+"_count"] = known[f[0]], known[f[0]]
				known[f[0]+"_bucket"] = append(slices.Clone(known[f[0]]), "le")
			}
		}
	}
	return known
}

// expressions are the PromQL texts of the packages: rules and panels.
func expressions(t *testing.T) []string {
	t.Helper()
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	text, err := os.ReadFile("packaging/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if text, err = os.ReadFile("packaging/dashboard.json"); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			all = append(all, r.Expr)
		}
	}
	for _, p := range board.Panels {
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	return all
}

// TestPackagedMetricsExist keeps dashboard and alerts true: what they ask for is what the command has, by name and label.
func TestPackagedMetricsExist(t *testing.T) {
	known := metricLabels(t)
	selector := regexp.MustCompile(`\b(up|(?:homing|process)_[a-z0-9_]+)(?:\{([^}]*)\})?`)
	label := regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)`)
	grouping := regexp.MustCompile(`(?:by|on) \(([a-z_, ]+)\)`)
	all := expressions(t)
	if len(all) < 30 {
		t.Fatalf("only %d expressions found", len(all))
	}
	for _, expr := range all {
		labels := []string{"instance", "job"} // set by Prometheus
		found := selector.FindAllStringSubmatch(expr, -1)
		if len(found) == 0 {
			t.Errorf("no metric in %q", expr)
		}
		for _, m := range found {
			has, ok := known[m[1]]
			if !ok {
				t.Errorf("no metric %s, asked for by %q", m[1], expr)
				continue
			}
			labels = append(labels, has...)
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				if l[1] != "instance" && !slices.Contains(has, l[1]) {
					t.Errorf("%s has no label %s, asked for by %q", m[1], l[1], expr)
				}
			}
		}
		for _, g := range grouping.FindAllStringSubmatch(expr, -1) {
			for name := range strings.SplitSeq(g[1], ",") {
				if name = strings.TrimSpace(name); !slices.Contains(labels, name) {
					t.Errorf("grouped by %s, which nothing has, in %q", name, expr)
				}
			}
		}
	}
}

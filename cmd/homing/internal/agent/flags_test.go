//go:build linux

package agent

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"homing/cmd/homing/internal/config"
	"homing/cmd/homing/internal/value"
)

// TestFlagTable holds for every flag: it is explained, its default is one that it would accept, and a parser that is
// given the default changes nothing.
func TestFlagTable(t *testing.T) {
	c, a := config.Default(), defaultOptions()
	for name, table := range map[string][]config.Group{"run": config.Table(c), "agent": flagTable(a), "all of run": config.NewFlags().Table()} {
		flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
		config.Bind(flags, table)
		flags.VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("--%s: the meaning %q is missing or ends with a stop", f.Name, f.Usage)
			}
			if strings.Contains(f.Usage, "\n") {
				t.Errorf("--%s: the meaning has several lines", f.Name)
			}
			if f.DefValue == "" {
				return // none: the lists, and --admin
			}
			if err := flags.Set(f.Name, f.DefValue); err != nil {
				t.Errorf("--%s: the default %q is refused: %v", f.Name, f.DefValue, err)
			}
		})
	}
	opaque := cmp.Options{
		cmp.AllowUnexported(options{}),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	}
	if diff := cmp.Diff(config.Default(), c, opaque); diff != "" {
		t.Errorf("setting the defaults of run changed (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(defaultOptions(), a, opaque); diff != "" {
		t.Errorf("setting the defaults of agent changed (-want +got):\n%s", diff)
	}
}

// TestFlagTableZero finds flags whose zero has a meaning that the help keeps to itself.
func TestFlagTableZero(t *testing.T) {
	for _, group := range slices.Concat(config.Table(config.Default()), flagTable(defaultOptions())) {
		for _, row := range group.Rows {
			span, ok := row.Value.(value.Duration)
			if ok && (span.Zero != "") != strings.Contains(row.Doc, "0: ") {
				t.Errorf("--%s: zero means %q, its meaning says %q", row.Flag, span.Zero, row.Doc)
			}
		}
	}
}

// TestAgentUnit: the flags that the environment file of the agent's unit shows are taken as systemd would divide them.
func TestAgentUnit(t *testing.T) {
	env, err := os.ReadFile("../../packaging/agent.env")
	if err != nil {
		t.Fatal(err)
	}
	_, flags, found := strings.Cut(string(env), "\n#AGENT_FLAGS=")
	if !found {
		t.Fatalf("no example in\n%s", env)
	}
	unit, err := os.ReadFile("../../packaging/homing-agent.service")
	if err != nil || !strings.Contains(string(unit), "\nEnvironmentFile=/etc/homing/agent.env\nExecStart=/usr/bin/homing agent $AGENT_FLAGS\n") {
		t.Errorf("the unit does not take them: %v", err)
	}
	o := defaultOptions()
	set := pflag.NewFlagSet("agent", pflag.ContinueOnError)
	config.Bind(set, flagTable(o))
	if err := set.Parse(strings.Fields(flags)); err != nil {
		t.Fatal(err)
	}
	if err := o.validate(); err != nil || len(o.Join) != 2 || o.GossipKeyFile == "" {
		t.Errorf("%v: %+v", err, o)
	}
}

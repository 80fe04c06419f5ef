//go:build linux

package config

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"homing/cmd/homing/internal/value"
)

// small is the least that a file must say.
const small = `
listeners: [{address: ":443", default: www}]
pools: [{name: www, backends: [192.0.2.11:443]}]
`

// same compares configurations; a list without anything in it is none.
func same(a, b *Config) string {
	return cmp.Diff(a, b, cmpopts.EquateEmpty(),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }))
}

// parse reads a text that must be right.
func parse(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Parse("test.yaml", []byte(text), nil)
	if wrong, ok := errors.AsType[*Errors](err); ok {
		var all bytes.Buffer
		_ = wrong.Write(&all)
		t.Fatalf("%s\n%s", &all, text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// load makes a configuration of a command line that must be right.
func load(t *testing.T, args ...string) *Config {
	t.Helper()
	c, err := loadArgs(args...)
	if err != nil {
		t.Fatal(args, err)
	}
	return c
}

func loadArgs(args ...string) (*Config, error) {
	f := NewFlags()
	flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
	Bind(flags, f.Table())
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	return f.Load()
}

// other is a value that a row does not have by default.
func other(t *testing.T, row Row) string {
	t.Helper()
	switch v := row.Value.(type) {
	case value.Duration:
		return value.FormatDuration(v.Max)
	case value.Int:
		if *v.P == v.Max {
			return fmt.Sprint(v.Min)
		}
		return fmt.Sprint(v.Max)
	case value.Port:
		return fmt.Sprint(v.Max)
	case value.Ratio:
		return fmt.Sprint(v.Max)
	case value.Bytes:
		if most := value.FormatBytes(v.Max); most != v.String() {
			return most
		}
		return value.FormatBytes(v.Min)
	case value.Bool:
		return fmt.Sprint(!*v.P)
	}
	if words := strings.Split(row.Value.Type(), "|"); slices.Contains(words, row.Value.String()) {
		return words[(slices.Index(words, row.Value.String())+1)%len(words)]
	}
	if text := row.Value.String(); text != "" && row.Example == "" {
		return text + "2"
	}
	if row.Example == "" {
		t.Fatalf("%s has neither a default nor an example", row.Key)
	}
	return row.Example
}

// nest writes a.b.c: text as YAML.
func nest(key, text string) string {
	parts := strings.Split(key, ".")
	var out strings.Builder
	for i, part := range parts {
		out.WriteString(strings.Repeat("  ", i) + part + ":")
		if i < len(parts)-1 {
			out.WriteString("\n")
		}
	}
	return out.String() + " " + text + "\n"
}

// among is what has to be said beside a setting, so that it goes neither unused nor contradicts itself.
func among(row Row) []Row {
	need := map[string][]string{
		"cluster.": {"cluster.bind", "cluster.gossip_key_file"}, "discover_from": {"cluster.bind", "cluster.gossip_key_file"}, "cluster.replication_bind": {"cluster.node_key_file"},
		"checks.": {"checks.kind=https"}, "limits.client_burst": {"limits.client_rate=10000"}, "checks.ca_file": {"checks.server_name"},
		"admin.": {"admin.address"}, "admin.tls_": {"admin.tls_cert", "admin.tls_key"}, "admin.client_ca": {"admin.tls_cert", "admin.tls_key"},
	}
	var rows []Row
	for prefix, keys := range need {
		for _, key := range keys {
			key, text, given := strings.Cut(key, "=")
			for _, other := range rowsOf(Table(Default()), Top, InPools) {
				if !strings.HasPrefix(row.Key, prefix) || other.Key != key || key == row.Key {
					continue
				}
				if given {
					other.Example = text
				}
				rows = append(rows, other)
			}
		}
	}
	return rows
}

// TestBothWays: each setting has a flag and a key, which take the same words, refuse the same ones in the same way, and
// come to the same configuration.
func TestBothWays(t *testing.T) {
	seen := make(map[string]bool)
	for _, group := range NewFlags().Table() {
		for _, row := range group.Rows {
			if row.Flag == "" || seen[row.Flag] || seen[row.Key] {
				t.Errorf("%q, %q: without a flag, or twice", row.Flag, row.Key)
			}
			seen[row.Flag], seen[row.Key] = true, true
			if row.Key == "" && row.Flag != "config" {
				t.Errorf("--%s has no key", row.Flag)
			}
		}
	}
	for _, row := range topRows(Default()) {
		t.Run(row.Flag, func(t *testing.T) {
			text := other(t, row)
			args := []string{"--listen", ":443", "--backend", "192.0.2.11:443"}
			top := make(map[string]string)
			for _, beside := range append(among(row), row) {
				in := beside.Example
				if beside.Key == row.Key {
					in = text
				}
				args = append(args, "--"+beside.Flag+"="+in)
				section, _, _ := strings.Cut(beside.Key, ".")
				nested := nest(beside.Key, scalar(in))
				if _, below, deep := strings.Cut(nested, ":\n"); deep && top[section] != "" {
					nested = below
				}
				top[section] += nested
			}
			file := "listeners: [{address: :443, default: default}]\npools: [{name: default, backends: [192.0.2.11:443]}]\n"
			for _, part := range top {
				file += part
			}
			byFlag, byKey := load(t, args...), parse(t, file)
			if diff := same(byFlag, byKey); diff != "" {
				t.Errorf("flag and key do not come to the same (-flag +key):\n%s", diff)
			}
			// An error: it cannot be left out where what needs it is said.
			if without, err := loadArgs(args[:len(args)-1]...); err == nil && same(byFlag, without) == "" {
				t.Errorf("%s=%s changes nothing", row.Flag, text)
			}

			_, flagErr := loadArgs("--" + row.Flag + "=\x01")
			if _, ok := errors.AsType[*pflag.InvalidValueError](flagErr); !ok {
				t.Fatalf("--%s takes nonsense: %v", row.Flag, flagErr)
			}
			_, flagErr = loadArgs("--" + row.Flag + "=no such thing!")
			invalid, ok := errors.AsType[*pflag.InvalidValueError](flagErr)
			if !ok {
				return // any text is one
			}
			_, keyErr := Parse("x", []byte(small+nest(row.Key, "no such thing!")), nil)
			wrong, ok := errors.AsType[*Errors](keyErr)
			if !ok || len(wrong.Problems) != 1 || !strings.HasSuffix(wrong.Problems[0].Text, `"no such thing!": `+invalid.Unwrap().Error()) {
				t.Errorf("the flag says %q, the key %v", invalid.Unwrap(), keyErr)
			}
		})
	}
}

// TestExample: the example is valid, says what holds without it, explains every key, and stays valid when all that is
// commented out in it is taken in.
func TestExample(t *testing.T) {
	text := string(Example())
	c := parse(t, text)
	plain := Default()
	plain.Listeners, plain.Pools = c.Listeners, c.Pools
	if diff := same(plain, c); diff != "" {
		t.Errorf("the example changes defaults (-default +example):\n%s", diff)
	}
	if diff := same(exampleConfig(), c); diff != "" {
		t.Errorf("it reads back as another (-want +got):\n%s", diff)
	}
	commented := regexp.MustCompile(`(?m)^( *)#([a-z_]+:)`)
	whole := commented.ReplaceAllString(text, "$1$2")
	all := parse(t, whole)
	if all.Cluster.NodeKeyFile == "" || all.StateDir == "" {
		t.Error("what is commented out says nothing when it is not")
	}
	for _, row := range topRows(Default()) {
		_, name, _ := cutLast(row.Key)
		note := regexp.QuoteMeta(strings.ReplaceAll(InKeys(row.Doc), "repeatable; ", ""))
		if !regexp.MustCompile(`(?m)^ *# ` + note + `.*\n *#?` + name + `:`).MatchString(text) {
			t.Errorf("%s is not explained", row.Key)
		}
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, "--") && !strings.Contains(line, "homing run --config") {
			t.Errorf("it names a flag: %s", line)
		}
	}
}

// TestPrint: what is printed reads back as the same, whatever was read.
func TestPrint(t *testing.T) {
	for _, args := range [][]string{
		{"--listen", ":443", "--backend", "192.0.2.7:443"},
		{"--listen", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--backend", "[2001:db8::1]:443,weight=7", "--backend", "name:443,max-conns=3"},
		{"--listen", ":443", "--cluster-bind", "127.0.0.1:7946", "--discover-from", "192.0.2.0/24", "--discover-from", "2001:db8::/64", "--cluster-label", ""},
		{"--listen", ":443", "--backend", "name:443", "--state-dir", "it's #1: [odd] {dir}, *really*", "--table-dir", "null"},
	} {
		c := load(t, args...)
		if diff := same(c, parse(t, string(Print(c)))); diff != "" {
			t.Errorf("%q (-flags +printed):\n%s", args, diff)
		}
	}
}

// TestPrintInherits: a pool prints what the top does not say, an empty list too.
func TestPrintInherits(t *testing.T) {
	c := parse(t, `
probe: {names: [a.example, b.example], interval: 5m}
tls: require
listeners:
  - {address: ":443", default: one}
  - {address: ":444", default: two, tls: auto}
pools:
  - {name: one, backends: [192.0.2.1:443]}
  - {name: two, backends: [192.0.2.1:443], probe: {names: []}, checks: {disabled: true}}
`)
	if got := c.Pools[1].Probe; len(got.Names) != 0 || got.Interval != c.Pool.Probe.Interval || !c.Pools[1].Checks.Disabled {
		t.Errorf("pool two has %+v", c.Pools[1])
	}
	if got := c.Pools[0].Probe.Names; len(got) != 2 || c.Listeners[0].TLS != c.Listener.TLS || c.Listeners[1].TLS == c.Listener.TLS {
		t.Errorf("what the top says is lost: %+v", c)
	}
	printed := string(Print(c))
	if diff := same(c, parse(t, printed)); diff != "" {
		t.Errorf("(-read +printed):\n%s\n%s", diff, printed)
	}
	for _, want := range []string{"      names: []\n", "      disabled: true\n"} {
		if strings.Count(printed, want) != 1 {
			t.Errorf("not once %q in\n%s", want, printed)
		}
	}
}

// TestFlagsBeside: flags win over the top of a file, and reach pools and listeners that do not say otherwise.
func TestFlagsBeside(t *testing.T) {
	file := filepath.Join(t.TempDir(), "homing.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`
policy: client-hash
probe: {names: [file.example]}
timeouts: {idle: 7m}
listeners: [{address: ":443", default: one}, {address: ":444", tls: auto, default: two}]
pools:
  - {name: one, backends: [192.0.2.1:443]}
  - {name: two, policy: round-robin, backends: [192.0.2.1:443]}
`)
	c := load(t, "--config", file, "--policy", "least-conn", "--idle-timeout", "8m", "--idle-timeout", "9m", "--tls", "require",
		"--probe-name", "a.example", "--probe-name", "b.example")
	got := fmt.Sprintln(c.Pools[0].Policy, c.Pools[1].Policy, value.FormatDuration(c.Timeouts.Idle), c.Listeners[0].TLS,
		c.Listeners[1].TLS, c.Pools[0].Probe.Names)
	if want := "least-conn round-robin 9m require auto [a.example b.example]\n"; got != want {
		t.Errorf("%s, want %s", got, want)
	}

	// The file is read each time, the flags hold each time.
	f := NewFlags()
	flags := pflag.NewFlagSet("run", pflag.ContinueOnError)
	Bind(flags, f.Table())
	if err := flags.Parse([]string{"--config", file, "--probe-name", "a.example"}); err != nil {
		t.Fatal(err)
	}
	for i, idle := range []string{"1m", "2m"} {
		write(small + "timeouts: {idle: " + idle + "}\n")
		c, err := f.Load()
		if err != nil || value.FormatDuration(c.Timeouts.Idle) != idle || len(c.Pools[0].Probe.Names) != 1 {
			t.Errorf("load %d: %+v, %v", i, c, err)
		}
	}
	write(small + "log: {conns: true}\n")
	if _, err := loadArgs("--config", file, "--log-level", "warn"); err == nil || !strings.Contains(err.Error(),
		"log.conns logs at level info: leave out log.level: warn") {
		t.Errorf("a flag that contradicts the file: %v", err)
	}
}

//go:build linux

// Package transparent is the routing that a machine needs where backends see the clients' own addresses.
package transparent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"homing/balancer"
	"homing/cmd/homing/internal/value"
	"homing/cmd/internal/usage"
)

// The mark and the table of the rules. Any numbers do that nothing else uses: these spell "ho".
const (
	defaultMark  = 0x686f
	defaultTable = 26735
)

// rules is what a node's machine must be told for pools with `transparent: on`.
type rules struct{ mark, table int }

// rule is one of them: how it is made, and how it is seen that it is there.
type rule struct {
	why, make string
	there     func(ctx context.Context, r rules) (bool, error)
}

func (r rules) all() []rule {
	var list []rule
	list = append(list, rule{
		why: "packets for sockets that have a client's address are marked",
		make: fmt.Sprintf(`nft add table inet homing
nft add chain inet homing prerouting '{ type filter hook prerouting priority mangle; }'
nft add rule inet homing prerouting meta l4proto tcp socket transparent 1 meta mark set 0x%x`, r.mark),
		there: marksTransparent,
	})
	for _, family := range []struct{ flag, any string }{{"-4", "0.0.0.0/0"}, {"-6", "::/0"}} {
		list = append(list,
			rule{
				why:   "marked packets have a routing table of their own (ip " + family.flag + ")",
				make:  fmt.Sprintf("ip %s rule add fwmark 0x%x lookup %d", family.flag, r.mark, r.table),
				there: func(ctx context.Context, r rules) (bool, error) { return rulePoints(ctx, family.flag, r) },
			},
			rule{
				why:   "which says that they are for this machine (ip " + family.flag + ")",
				make:  fmt.Sprintf("ip %s route add local %s dev lo table %d", family.flag, family.any, r.table),
				there: func(ctx context.Context, r rules) (bool, error) { return routeIsLocal(ctx, family.flag, r) },
			})
	}
	return list
}

// NewCommand is `homing transparent-rules`.
func NewCommand() *cobra.Command {
	rules := rules{defaultMark, defaultTable}
	check := false
	cmd := &cobra.Command{
		Use:   "transparent-rules [--check]",
		Short: "Print, or check, the routing that pools with transparent sources need",
		Long: `A backend that sees the clients' own addresses answers to them. This machine must be on the way of those answers (it is
the backend's gateway to the clients), and must take them in instead of forwarding them. The rules printed here do that;
run them as root, at each start of the machine. With --check nothing is changed: each rule is looked for.`,
		Args: usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if check {
				return rules.check(cmd.Context(), cmd.OutOrStdout())
			}
			return rules.print(cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.Var(value.Int{P: &rules.mark, Min: 1, Max: 1<<31 - 1}, "mark",
		"of the packets, if another program uses this one")
	flags.Var(value.Int{P: &rules.table, Min: 1, Max: 1<<31 - 1}, "table",
		"of the routes, if another program uses this one")
	flags.VarPF(value.Bool{P: &check}, "check", "",
		"look for the rules, and for the capability that homing needs").NoOptDefVal = "true"
	return cmd
}

func (r rules) print(w io.Writer) error {
	var text strings.Builder
	for _, one := range r.all() {
		fmt.Fprintf(&text, "# %s\n%s\n", one.why, one.make)
	}
	text.WriteString("# and on each backend: its route to the clients leads through this machine, e.g. ip route " +
		"replace default via ADDRESS\n")
	_, err := io.WriteString(w, text.String())
	return err
}

// check tells of each rule whether it is there. An error says that one is not.
func (r rules) check(ctx context.Context, w io.Writer) error {
	missing := 0
	say := func(ok bool, what, remedy string) {
		word := "ok     "
		if !ok {
			missing++
			word = "missing"
		}
		fmt.Fprintf(w, "%s  %s\n", word, what)
		if !ok {
			for line := range strings.Lines(remedy) {
				fmt.Fprintf(w, "         %s\n", strings.TrimRight(line, "\n"))
			}
		}
	}
	say(balancer.CheckTransparent() == nil, "this process may take foreign addresses",
		"run homing with CAP_NET_ADMIN: as root, or AmbientCapabilities=CAP_NET_ADMIN in its unit")
	for _, one := range r.all() {
		ok, err := one.there(ctx, r)
		if err != nil {
			return usage.Failed(err)
		}
		say(ok, one.why, one.make)
	}
	if missing > 0 {
		return usage.Failed(fmt.Errorf("%d of the rules for transparent sources are missing", missing))
	}
	return nil
}

// listing runs a program that prints JSON.
func listing(ctx context.Context, into any, name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return fmt.Errorf("%s is not installed: install the package %s", name,
			map[string]string{"ip": "iproute2", "nft": "nftables"}[name])
	}
	out, err := exec.CommandContext(ctx, path, args...).Output()
	if err != nil {
		said := ""
		if failed, ok := errors.AsType[*exec.ExitError](err); ok {
			said = ": " + strings.TrimSpace(string(failed.Stderr))
		}
		return fmt.Errorf("%s %s: %w%s", name, strings.Join(args, " "), err, said)
	}
	if len(strings.TrimSpace(string(out))) == 0 {
		return nil // nothing at all is listed as nothing
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return nil
}

func rulePoints(ctx context.Context, family string, r rules) (bool, error) {
	var list []struct{ FwMark, Table string }
	if err := listing(ctx, &list, "ip", family, "-j", "rule", "show"); err != nil {
		return false, err
	}
	for _, one := range list {
		if one.FwMark == fmt.Sprintf("0x%x", r.mark) && one.Table == fmt.Sprint(r.table) {
			return true, nil
		}
	}
	return false, nil
}

func routeIsLocal(ctx context.Context, family string, r rules) (bool, error) {
	// A table that has no route does not exist, which some versions of ip call an error: all tables are asked for.
	var list []struct{ Type, Dst, Table string }
	if err := listing(ctx, &list, "ip", family, "-j", "route", "show", "table", "all"); err != nil {
		return false, err
	}
	for _, one := range list {
		if one.Type == "local" && one.Dst == "default" && one.Table == fmt.Sprint(r.table) {
			return true, nil
		}
	}
	return false, nil
}

// marksTransparent looks for a rule of nftables that matches transparent sockets and sets the mark, in whatever table,
// also as iptables makes it.
func marksTransparent(ctx context.Context, r rules) (bool, error) {
	var list struct {
		NFTables []struct {
			Rule *struct{ Expr []json.RawMessage }
		}
	}
	if err := listing(ctx, &list, "nft", "-j", "list", "ruleset"); err != nil {
		return false, err
	}
	for _, one := range list.NFTables {
		if one.Rule == nil {
			continue
		}
		var socket, mark bool
		for _, expr := range one.Rule.Expr {
			text := strings.ReplaceAll(string(expr), " ", "")
			socket = socket || strings.Contains(text, `{"socket":{"key":"transparent"}}`) ||
				strings.Contains(text, `{"type":"match","name":"socket"}`)
			mark = mark || strings.Contains(text, `{"meta":{"key":"mark"}},"value":`+fmt.Sprint(r.mark)+"}") ||
				strings.Contains(text, `{"type":"target","name":"MARK"}`)
		}
		if socket && mark {
			return true, nil
		}
	}
	return false, nil
}

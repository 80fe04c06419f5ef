package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"homing/balancer/pool"
	"homing/cmd/homing/internal/api"
	"homing/cmd/homing/internal/value"
	"homing/cmd/internal/usage"
)

// drainer has backends drained, put back, and followed.
type drainer struct {
	adminClient
	pool           string
	hard, thisNode bool
	force, wait    bool
	span           time.Duration
}

// bindDrain adds the flags that say how far and how long a backend is drained.
func bindDrain(flags *pflag.FlagSet, hard *bool, span *time.Duration) {
	*span = api.DefaultDrain
	bindBool(flags, hard, "hard", "not even its own resumptions: no new conns at once")
	flags.Var(value.Duration{P: span, Min: time.Second, Max: pool.MaxDrain}, "for", "admit its own resumptions for "+
		"so long; then they are balanced as fresh; with --hard --wait, wait so long for its conns")
}

const drainWords = `BACKEND is its address and port, or its name as it is configured, which may stand for several addresses.
In a cluster all nodes do it, unless --this-node is given. Nodes that join, or start again, later know nothing of it.`

func drainCommand() *cobra.Command {
	d := &drainer{}
	cmd := &cobra.Command{
		Use:   "drain BACKEND",
		Short: "Empty a backend: no more fresh handshakes, its own resumptions for a time",
		Long: `Empties a backend. When the command returns, no fresh handshake goes there any more. Its own resumptions do, for as long as
--for says: clients that go on elsewhere lose nothing but one full handshake then. Conns that are open stay.

` + drainWords,
		Args: usage.OneArg("BACKEND"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.drain(cmd.Context(), cmd.OutOrStdout(), args[0])
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	bindDrain(flags, &d.hard, &d.span)
	bindBool(flags, &d.wait, "wait", "print how far it is, until it is drained at all nodes or the time is over")
	bindBool(flags, &d.force, "force", "although no backend is left for fresh handshakes")
	d.bindCommon(flags)
	return cmd
}

func undrainCommand() *cobra.Command {
	d := &drainer{}
	cmd := &cobra.Command{
		Use:   "undrain BACKEND",
		Short: "Put a drained backend back in service",
		Long:  "Puts a backend back in service, whoever has drained it.\n\n" + drainWords,
		Args:  usage.OneArg("BACKEND"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return d.undrain(cmd.Context(), cmd.OutOrStdout(), args[0])
		},
	}
	cmd.Flags().SortFlags = false
	d.bindCommon(cmd.Flags())
	return cmd
}

func (d *drainer) bindCommon(flags *pflag.FlagSet) {
	flags.Var(value.Text{P: &d.pool, Check: value.CheckName, Kind: "NAME"}, "pool",
		"the backend's pool, where several have one of that name")
	bindBool(flags, &d.thisNode, "this-node", "only at the node that is asked")
	d.bind(flags)
}

func (d *drainer) drain(ctx context.Context, w io.Writer, backend string) error {
	client, err := d.connect()
	if err != nil {
		return err
	}
	var changed api.Changed
	request := api.DrainRequest{Hard: d.hard, For: d.span.Seconds(), ThisNode: d.thisNode, Force: d.force}
	if err := client.Post(ctx, api.BackendPath(backend, d.pool, "drain"), request, &changed); err != nil {
		return usage.Failed(err)
	}
	if err := d.report(w, &changed); err != nil || !d.wait {
		return err
	}
	return d.follow(ctx, w, client, backend, &changed)
}

func (d *drainer) undrain(ctx context.Context, w io.Writer, backend string) error {
	var changed api.Changed
	if err := d.post(ctx, api.BackendPath(backend, d.pool, "undrain"), api.UndrainRequest{ThisNode: d.thisNode},
		&changed); err != nil {
		return err
	}
	return d.report(w, &changed)
}

// report says what a change has come to; nodes that do not follow are an error.
func (d *drainer) report(w io.Writer, changed *api.Changed) error {
	for i := range changed.Backends {
		if _, err := fmt.Fprintln(w, drainLine(&changed.Backends[i], time.Now())); err != nil {
			return err
		}
	}
	if changed.Note != "" {
		fmt.Fprintln(w, changed.Note)
	}
	if err := notAll(changed.Nodes); err != nil {
		return err
	}
	if len(changed.Nodes) > 1 {
		fmt.Fprintf(w, "all %d nodes follow\n", len(changed.Nodes))
	}
	return nil
}

// drainLine is how far the draining of a backend has come.
func drainLine(b *api.Backend, now time.Time) string {
	line := fmt.Sprintf("%s %s: %s", b.Pool, b.Address, b.State)
	if b.State == "in service" {
		return line
	}
	line += fmt.Sprintf(", %s open", count(b.ConnsOpen, "conn"))
	if b.Known != nil && b.Known.At.After(b.Drain.Since) {
		line += fmt.Sprintf(", %s and %s lead there", count(b.Known.Sessions, "session"), count(b.Known.TicketKeys, "ticket key"))
	}
	switch {
	case b.State == "drained" || b.Drain.Until.IsZero():
	case b.Drain.Mode == "soft":
		line += fmt.Sprintf(", resumptions until %s (%s)", b.Drain.Until.Local().Format(time.TimeOnly),
			roughly(b.Drain.Until.Sub(now)))
	default:
		line += ", no new conns"
	}
	return line
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// roughly is a span of time for people.
func roughly(d time.Duration) string {
	switch {
	case d <= 0:
		return "over"
	case d < time.Minute:
		return fmt.Sprintf("%.0fs left", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0fm left", d.Minutes())
	}
	return fmt.Sprintf("%.0fh left", d.Hours())
}

// followEvery is the time between two looks at a drain; what changes is printed every tellEvery, and at once when it is
// more than a number.
const (
	followEvery = time.Second
	tellEvery   = 5 * time.Second
)

// follow prints what is left since changed was, until nothing is at any node, or the time is over. Then it is an error.
func (d *drainer) follow(ctx context.Context, w io.Writer, client *api.Client, backend string,
	changed *api.Changed,
) error {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	what := "drained" // asks all nodes
	if d.thisNode {
		what = ""
	}
	told, _ := progressOf(changed, time.Now()) // a drain that was ended at once is met below
	over := false
	for {
		var now api.Changed
		if err := client.Get(ctx, api.BackendPath(backend, d.pool, what), &now); err != nil {
			return usage.Failed(err)
		}
		progress, err := progressOf(&now, time.Now())
		if err != nil {
			return usage.Failed(err)
		}
		if told.tell(&progress) {
			if _, err := io.WriteString(w, progress.text); err != nil {
				return err
			}
		}
		switch {
		case progress.done:
			return nil
		case progress.over && over:
			return usage.Failed(errors.New("the time is over and conns are still open: they go on until they end"))
		}
		over = progress.over // once: what was admitted in the last moment may end meanwhile
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// drainProgress is one look at a drain.
type drainProgress struct {
	at         time.Time
	done, over bool
	state      string // of all backends and nodes, without numbers
	text       string
}

// progressOf makes a drainProgress of the answers. A drain that somebody has ended is an error.
func progressOf(now *api.Changed, at time.Time) (drainProgress, error) {
	p := drainProgress{at: at, done: true, over: true}
	for i := range now.Backends {
		b := &now.Backends[i]
		if b.Drain.Mode == "off" {
			return p, fmt.Errorf("%s is in service again: somebody else has ended the drain", b.Address)
		}
		p.done = p.done && b.State == "drained"
		p.over = p.over && !b.Drain.Until.IsZero() && at.After(b.Drain.Until)
		p.state += b.State + b.Drain.Mode + " "
		p.text += drainLine(b, at) + "\n"
	}
	if len(now.Nodes) > 1 && p.done { // this one is through
		if err := notAll(now.Nodes); err != nil {
			p.done = false
			p.text += err.Error() + "\n"
			p.state += "others"
		}
	}
	return p, nil
}

// tell says whether a look is worth printing after the one that was printed last, and remembers it.
func (p *drainProgress) tell(next *drainProgress) bool {
	if next.text == p.text || next.state == p.state && !next.done && !next.over && next.at.Sub(p.at) < tellEvery {
		return false
	}
	*p = *next
	return true
}

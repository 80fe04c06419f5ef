package operate

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"homing/cmd/homing/internal/api"
	"homing/cmd/homing/internal/value"
	"homing/cmd/internal/usage"
)

// statusViewer prints what a node says of itself.
type statusViewer struct {
	adminClient
	watch, json bool
	sort        statusSort
	every       time.Duration
	rows        int
}

// statusSort is the order of the backends.
type statusSort uint8

const (
	sortName statusSort = iota
	sortConns
	sortBytes
	sortLost
)

func (s statusSort) String() string { return [...]string{"name", "conns", "bytes", "lost"}[s] }

func statusCommand() *cobra.Command {
	v := &statusViewer{every: 2 * time.Second}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what a node does: conns, traffic, resumptions, and its backends",
		Long: `Shows what a running node does. Of each backend: its state, the conns open to it and new ones per second, bytes per second in
both directions, the share of offers that it resumed, and how many of its own were lost.`,
		Args: usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return v.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	bindBool(flags, &v.watch, "watch", "again and again, until interrupted; on a terminal as much as it shows, q ends")
	flags.Var(value.Duration{P: &v.every, Min: 100 * time.Millisecond, Max: time.Hour}, "every",
		"with --watch: the time between two looks")
	flags.Var(value.Words(&v.sort, sortName, sortConns, sortBytes, sortLost), "sort",
		"by pool and address, or the busiest first: by conns open, bytes per second or lost resumptions")
	flags.Var(value.Int{P: &v.rows, Min: 0, Max: 1_000_000}, "rows",
		"no more backends than these; 0: all, with --watch as many as the terminal shows")
	bindBool(flags, &v.json, "json", "print what the admin API says, see /v1/openapi.json")
	v.bind(flags)
	return cmd
}

func (v *statusViewer) run(ctx context.Context, w io.Writer) error {
	client, err := v.connect()
	if err != nil {
		return err
	}
	if v.watch && !v.json {
		if terminal := terminalOf(w); terminal != nil {
			return usage.Failed(v.watchOn(ctx, client, terminal))
		}
	}
	ticker := time.NewTicker(v.every)
	defer ticker.Stop()
	for {
		if err := v.once(ctx, w, client); err != nil || !v.watch {
			return usage.Failed(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// once prints one look. Where it is no terminal, an empty line stands between two.
func (v *statusViewer) once(ctx context.Context, w io.Writer, client *api.Client) error {
	if v.json {
		var raw json.RawMessage
		if err := client.Get(ctx, "/v1/status", &raw); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "%s\n", bytes.TrimSpace(raw))
		return err
	}
	var status api.Status
	if err := client.Get(ctx, "/v1/status", &status); err != nil {
		return err
	}
	page := statusPage{status: &status, sort: v.sort, rows: v.rows}
	text := page.render()
	if v.watch {
		text += "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

// statusPage is a Status as text.
type statusPage struct {
	status  *api.Status
	sort    statusSort
	rows    int // at most so many backends, 0: all
	columns int // of the terminal, 0: lines are as long as they get, and a table has 80
	lines   []statusLine
}

// statusLine is a line of the text, and whether it is that of a backend.
type statusLine struct {
	text    string
	backend bool
}

func (p *statusPage) add(format string, args ...any) {
	p.lines = append(p.lines, statusLine{text: fmt.Sprintf(format, args...)})
}

// render is the whole text.
func (p *statusPage) render() string {
	p.fill()
	var b strings.Builder
	for _, line := range p.lines {
		b.WriteString(line.text)
		b.WriteByte('\n')
	}
	return b.String()
}

func (p *statusPage) fill() {
	p.lines = nil
	st := p.status
	state := "ready"
	if !st.Ready {
		state = "not ready: " + st.NotReady
	}
	p.add("homing %s, node %s, up %s, %s", st.Version, st.Node, shortSpan(st.Now.Sub(st.Started)), state)
	for i := range st.Shortages {
		p.add("short    %s", shortOf(&st.Shortages[i], st.Now))
	}
	t := &st.Totals
	var perSecond, bytes float64
	for _, pool := range st.Pools {
		for i := range pool.Backends {
			perSecond += pool.Backends[i].ConnsPerSecond
			bytes += pool.Backends[i].BytesPerSecond
		}
	}
	p.add("conns    %s open, %s/s, %s accepted; %sB/s, %sB in, %sB out", short(float64(t.ConnsOpen)), short(perSecond),
		short(float64(t.ConnsAccepted)), short(bytes), short(float64(t.BytesIn)), short(float64(t.BytesOut)))
	if t.Waiting > 0 {
		p.add("waiting  %s for a backend with room", short(float64(t.Waiting)))
	}
	if words := refusedBy(t); words != "" {
		p.add("refused  %s", words)
	}
	p.add("resumed  %s", resumed(t))
	p.add("lost     %s", lost(t))
	for _, table := range st.Tables {
		if table.Evicted > 0 && (table.Name == "sessions" || table.Name == "clients") {
			p.add("the table of %s is too small: %s live entries gave way%s", table.Name, short(float64(table.Evicted)),
				mostOf(table.Shares))
		}
	}
	if len(st.Peers) > 0 {
		var peers []string
		for _, peer := range st.Peers {
			peers = append(peers, fmt.Sprintf("%s %s, lag %.1fs", cmp.Or(peer.Name, peer.ID), peer.State, peer.Lag))
		}
		p.add("nodes    %s", strings.Join(peers, ", "))
	}
	p.wrap(0)
	p.fillBackends()
}

// shortOf says what clients feel, and what to do.
func shortOf(s *api.Shortage, now time.Time) string {
	at := "this node"
	switch {
	case s.Pool != "":
		at = "pool " + s.Pool
	case s.Listener != "":
		at = "listener " + s.Listener
	}
	return fmt.Sprintf("%s, %s since %s: %s; %s", at, s.Cause, shortSpan(now.Sub(s.Since)), s.What, s.Remedy)
}

// mostOf says whose entries gave way, where there are several pools.
func mostOf(shares []api.TableShare) string {
	if len(shares) < 2 {
		return ""
	}
	most := slices.MaxFunc(shares, func(a, b api.TableShare) int { return cmp.Compare(a.Evicted, b.Evicted) })
	return fmt.Sprintf(", %s of pool %s, which has %s", short(float64(most.Evicted)), most.Pool,
		short(float64(most.Entries)))
}

// resumed is the share of accepted offers, by kind.
func resumed(t *api.Totals) string {
	var parts []string
	for _, offer := range t.Offers {
		if judged := offer.Accepted + offer.Refused; judged > 0 {
			parts = append(parts, fmt.Sprintf("%s %s of %s", offer.Kind, percent(offer.Accepted, judged),
				short(float64(judged))))
		}
	}
	if len(parts) == 0 {
		return "nothing was offered yet"
	}
	return strings.Join(parts, ", ")
}

// lost is the reasons, in the order in which the documents have them.
func lost(t *api.Totals) string {
	return cmp.Or(counted(t.Lost, "unknown", "expired", "rotated", "moved", "not_kept", "backend_down", "overloaded",
		"drained", "ech"), "none")
}

// refusedBy is the listeners' rules that have refused conns, "" if none has.
func refusedBy(t *api.Totals) string {
	return counted(t.Refused, "no_route", "no_tls", "proxy_header", "denied", "source_conns", "source_rate",
		"pre_hello", "memory")
}

// counted is the words that have happened, in their order.
func counted(n map[string]uint64, words ...string) string {
	var parts []string
	for _, word := range words {
		if n[word] > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", word, short(float64(n[word]))))
		}
	}
	return strings.Join(parts, ", ")
}

// percent never says 100 % of what is not all.
func percent(part, whole uint64) string {
	if whole == 0 {
		return "-"
	}
	share := 100 * float64(part) / float64(whole)
	if part < whole && share > 99.9 {
		share = 99.9
	}
	return fmt.Sprintf("%.1f%%", share)
}

// short is a number in at most five characters.
func short(n float64) string {
	switch {
	case n < 10 && n != float64(int(n)):
		return fmt.Sprintf("%.1f", n)
	case n < 10_000:
		return fmt.Sprintf("%.0f", n)
	}
	for _, unit := range "kMGTPE" {
		if n /= 1000; n < 9.95 {
			return fmt.Sprintf("%.1f%c", n, unit)
		} else if n < 999.5 {
			return fmt.Sprintf("%.0f%c", n, unit)
		}
	}
	return "huge"
}

// shortSpan is a span of time in its two largest units.
func shortSpan(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}

package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// report writes the table, kind by kind, then what it means.
func report(out io.Writer, o *Options, rows []row) error {
	var b strings.Builder
	what := "three TLS servers in Go (crypto/tls; tickets with OpenSSL's layout)"
	if o.Nginx {
		what = "three nginx, one worker each, ssl_session_cache shared"
	}
	fmt.Fprintf(&b, "\nBackends: %s,\neach with its own session cache, its own ticket key and an RSA certificate of 2,048 bits.\n", what)
	fmt.Fprintf(&b, "Clients: %d, reconnecting in random order, each conn from another source address.\n\n", o.Clients)
	fmt.Fprintf(&b, "%-19s %-12s %10s %10s %8s %12s %10s\n", "", "through", "reconnects", "resumed", "share", "server CPU", "handshake")
	fmt.Fprintf(&b, "%-19s %-12s %10s %10s %8s %12s %10s\n", "", "", "", "", "", "per conn", "median")
	for _, r := range byKind(rows) {
		fmt.Fprintf(&b, "%-19s %-12s %10d %10d %7.1f%% %12s %10s\n", r.kind, r.balancer, r.offered, r.accepted,
			percent(r.accepted, r.offered), milliseconds(r.cpu), milliseconds(median(r.handshakes)))
	}
	b.WriteString("\n")
	for _, r := range rows {
		if len(r.handshakes) < o.Reconnects {
			fmt.Fprintf(&b, "%s through %s ran out of time after %d of %d reconnects.\n", r.kind, r.balancer, len(r.handshakes), o.Reconnects)
		}
		if lost := r.offered - r.accepted; r.balancer == homeBound && lost > 0 {
			fmt.Fprintf(&b, "%s: homing lost %d while it learned the ticket keys; TLS 1.3 hides them until a ticket is used.\n", r.kind, lost)
		}
	}
	b.WriteString(`Server CPU is the backends' own, for handshake, request and answer of a reconnect; neither the balancer
nor the clients are in it. The handshake's time is the client's, from connect on; loopback has no round trip,
a real network adds one more to each refused TLS 1.2 offer. Round robin is homing with --tls off, which reads
nothing.
`)
	if _, err := io.WriteString(out, b.String()); err != nil {
		return fmt.Errorf("demo: write report: %w", err)
	}
	return nil
}

// byKind puts the rows of one kind together, in the order in which kinds and balancers ran.
func byKind(rows []row) []row {
	var sorted []row
	for _, first := range rows {
		if first.balancer != rows[0].balancer {
			break
		}
		for _, r := range rows {
			if r.kind == first.kind {
				sorted = append(sorted, r)
			}
		}
	}
	return sorted
}

func percent(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

// median returns the median of sorted durations.
func median(sorted []time.Duration) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1000) }

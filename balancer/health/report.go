package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"homing/balancer/pool"
)

// Agent is where a backend says of itself how it is: one line of text on a port of its own, the agent check of HAProxy's
// manual (section 5.2, agent-check). Programs that answer HAProxy so answer homing.
type Agent struct {
	Port uint16 // 0: none is asked
	Send string // sent on connecting, for programs that serve several backends; "": nothing
}

// maxReportLine bounds what is read of an answer, in bytes. HAProxy reads no more than a buffer either; the words that
// mean something take 60.
const maxReportLine = 1024

// saying is what an agent's line says.
type saying struct {
	report pool.Report
	down   bool
	why    string // of down
	health bool   // it says up or down, and not only a share
}

// agentWatch is what is known of one backend's agent.
type agentWatch struct {
	agent  *Agent
	log    *slog.Logger
	last   saying // stands until the agent says something else
	failed bool   // the log has been told that it cannot be asked
}

// ask asks the agent, if there is one, and gives the pool its report.
func (w *agentWatch) ask(ctx context.Context, timeout time.Duration, p *pool.Pool, b *pool.Backend) {
	if w.agent.Port == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	said, err := w.agent.ask(ctx, b.Addr)
	if err == nil {
		err = p.SetReport(b, said.report)
	}
	if err != nil {
		if !w.failed && !isCanceled(ctx) {
			w.failed = true
			w.log.Warn("the agent of a backend says nothing to go by, its last word stands",
				slog.String("pool", p.Name()), slog.String("backend", b.Addr.String()), slog.String("why", cause(err)))
		}
		return
	}
	w.failed = false
	if !said.health {
		said.down, said.why = w.last.down, w.last.why // a share alone leaves up and down as they were
	}
	w.last = said
}

func isCanceled(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// parseReport reads an agent's line: words separated by space, tab or comma. up, ready: in service; down, failed,
// stopped, each perhaps with #why: not; drain: no fresh handshakes; maint: down; N%: its share; maxconn:N: its bound.
// Of several of one kind the last counts, as with HAProxy. Other words are an error and nothing is changed.
func parseReport(line string) (saying, error) {
	var s saying
	words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' })
	for i, word := range words {
		word, why, _ := strings.Cut(word, "#")
		limit, isLimit := strings.CutPrefix(word, "maxconn:")
		percent, isPercent := strings.CutSuffix(word, "%")
		switch {
		case isLimit:
			n, err := strconv.Atoi(limit)
			if err != nil || n < 0 {
				return saying{}, fmt.Errorf("the agent says %q: want maxconn: and a number", word)
			}
			s.report.MaxConns = n
		case isPercent:
			n, err := strconv.Atoi(percent)
			if err != nil || n < 0 || n > pool.MaxPercent {
				return saying{}, fmt.Errorf("the agent says %q: want 0%% to %d%%", word, pool.MaxPercent)
			}
			s.report.Percent = n
			s.report.Drain = n == 0 // as HAProxy has it
		case word == "up", word == "ready":
			s.health, s.down, s.report.Drain = true, false, false
		case word == "drain":
			s.report.Drain = true
		case word == "down", word == "failed", word == "fail", word == "stopped", word == "maint":
			s.health, s.down, s.why = true, true, word
			if rest := strings.Join(append([]string{why}, words[i+1:]...), " "); strings.TrimSpace(rest) != "" {
				s.why = word + ": " + strings.TrimSpace(rest)
			}
			return s, nil // what follows is the reason, in words of its own
		default:
			return saying{}, fmt.Errorf("the agent says %q: want up, ready, drain, maint, down, failed, stopped, N%% or maxconn:N", word)
		}
	}
	if len(words) == 0 {
		return saying{}, fmt.Errorf("the agent says nothing")
	}
	return s, nil
}

// ask gets the line of the agent beside the backend at addr.
func (a *Agent) ask(ctx context.Context, addr netip.AddrPort) (saying, error) {
	conn, err := dial(ctx, netip.AddrPortFrom(addr.Addr(), a.Port))
	if err != nil {
		return saying{}, err
	}
	defer hangUp(conn)
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if a.Send != "" {
		if _, err := io.WriteString(conn, a.Send); err != nil {
			return saying{}, err
		}
	}
	line, err := bufio.NewReader(io.LimitReader(conn, maxReportLine)).ReadString('\n')
	if err != nil && (line == "" || err != io.EOF) { // a line may end with the connection
		return saying{}, err
	}
	return parseReport(strings.TrimRight(line, "\r\n"))
}

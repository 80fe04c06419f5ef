package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"homing/balancer/netaddr"
	"homing/balancer/pool"
)

// Agent is where a backend says of itself how it is: one line of text on a port of its own, the agent check of
// HAProxy's manual (section 5.2, agent-check). Programs that answer HAProxy so answer homing.
type Agent struct {
	Port uint16 // 0: none is asked; nor is one of a unix socket, which has no address to ask at
	Send string // sent on connecting, for programs that serve several backends; "": nothing
}

// maxReportLine bounds what is read of an answer, in bytes. HAProxy reads no more than a buffer either; the words that
// mean something take 60.
const maxReportLine = 1024

// saying is what a line of an agent says, or all that it has said up to now: what a line does not mention stays.
type saying struct {
	mode     mode
	state    word
	why      string // of down
	percent  int    // -1: not mentioned
	maxConns int    // -1: not mentioned
}

// word says whether a line calls the backend up or down.
type word uint8

const (
	wordNone word = iota
	wordUp
	wordDown
)

// mode is what an agent wants to be done with its backend, whether it is up or down.
type mode uint8

const (
	modeNone  mode = iota // not mentioned
	modeReady             // ends the other two
	modeDrain             // no fresh handshakes
	modeMaint             // not in service
)

// newStand is that of an agent that has not said anything, but for what the backend has been told to report.
func newStand(r pool.Report) saying {
	s := saying{percent: -1, maxConns: r.MaxConns}
	if r.Drain {
		s.mode = modeDrain
	}
	if r.Percent > 0 {
		s.percent = r.Percent
	}
	return s
}

// hear adds what a line says.
func (s *saying) hear(said saying) {
	if said.mode != modeNone {
		s.mode = said.mode
	}
	if said.state != wordNone {
		s.state, s.why = said.state, said.why
	}
	if said.percent >= 0 {
		s.percent = said.percent
	}
	if said.maxConns >= 0 {
		s.maxConns = said.maxConns
	}
}

// report is the part that is the pool's to act on. A share of nothing is a drain, as HAProxy has it.
func (s *saying) report() pool.Report {
	drain := s.mode == modeDrain || s.percent == 0
	return pool.Report{Drain: drain, Percent: max(s.percent, 0), MaxConns: max(s.maxConns, 0)}
}

// out says whether the agent has the backend out of service, and why.
func (s *saying) out() (why string, out bool) {
	if s.mode == modeMaint {
		return "maint", true
	}
	return s.why, s.state == wordDown
}

// agentWatch is what is known of one backend's agent.
type agentWatch struct {
	agent  *Agent
	log    *slog.Logger
	stand  saying // of all that it has said
	warned string // the log has been told that it cannot be asked, or what it says that means nothing
}

// ask asks the agent, if there is one, and gives the pool its report.
func (w *agentWatch) ask(ctx context.Context, timeout time.Duration, p *pool.Pool, b *pool.Backend) {
	if w.agent.Port == 0 || b.Addr.IsUnix() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	said, unknown, err := w.agent.ask(ctx, b.Addr.IP().Addr())
	if err == nil {
		next := w.stand
		next.hear(said)
		if err = p.SetReport(b, next.report()); err == nil {
			w.stand = next
		}
	}
	switch {
	case err != nil:
		if !isCanceled(ctx) {
			w.warn("the agent of a backend says nothing to go by, its last word stands", cause(err), p, b)
		}
	case unknown != nil:
		w.warn("the agent of a backend says more than is understood, the rest is done", unknown.Error(), p, b)
	default:
		w.warned = ""
	}
}

// warn tells the log what is wrong, until that changes once.
func (w *agentWatch) warn(text, why string, p *pool.Pool, b *pool.Backend) {
	if w.warned != text {
		w.warned = text
		w.log.Warn(text, slog.String("pool", p.Name()), slog.String("backend", b.Addr.String()), slog.String("why", why))
	}
}

func isCanceled(ctx context.Context) bool { return errors.Is(ctx.Err(), context.Canceled) }

// errNothingSaid is an answer without a word that means anything.
var errNothingSaid = errors.New("the agent says nothing")

// parseReport reads an agent's line as HAProxy does: words in any case, separated by space, tab or comma. up: it works;
// down, fail, failed, stopped: not; drain: no fresh handshakes; maint: out of service; ready: neither of the two; N%:
// its share of its weight; maxconn:N: its bound. Of several of one kind the last counts; behind # stands why. Other
// words are told in unknown, and the rest holds; a line that means nothing at all is an error.
func parseReport(line string) (said saying, unknown, err error) {
	line, why, _ := strings.Cut(line, "#")
	said = saying{percent: -1, maxConns: -1}
	nothing := said
	state := ""
	for _, word := range strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' || r == ',' }) {
		word = strings.ToLower(word)
		limit, isLimit := strings.CutPrefix(word, "maxconn:")
		percent, isPercent := strings.CutSuffix(word, "%")
		wrong := ""
		switch {
		case isLimit:
			said.maxConns, wrong = reported(limit, said.maxConns, math.MaxInt32)
		case isPercent:
			said.percent, wrong = reported(percent, said.percent, pool.MaxPercent)
		case word == "up":
			said.state, state = wordUp, word
		case word == "down", word == "failed", word == "fail", word == "stopped":
			said.state, state = wordDown, word
		case word == "ready":
			said.mode = modeReady
		case word == "drain":
			said.mode = modeDrain
		case word == "maint":
			said.mode = modeMaint
		default:
			wrong = "want up, down, failed, stopped, ready, drain, maint, N% or maxconn:N"
		}
		if wrong != "" && unknown == nil {
			unknown = fmt.Errorf("the agent says %q: %s", word, wrong)
		}
	}
	switch {
	case said == nothing && unknown != nil:
		return said, nil, unknown
	case said == nothing:
		return said, nil, errNothingSaid
	case said.state == wordDown:
		said.why = state
		if why = strings.TrimSpace(why); why != "" {
			said.why += ": " + why
		}
	}
	return said, unknown, nil
}

// reported reads a number up to most; before it stands what counts otherwise.
func reported(text string, before, most int) (n int, wrong string) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return before, fmt.Sprintf("want a number from 0 to %d", most)
	}
	return n, ""
}

// ask gets the line of the agent beside the backend at an address.
func (a *Agent) ask(ctx context.Context, addr netip.Addr) (said saying, unknown, err error) {
	conn, err := dial(ctx, netaddr.Of(netip.AddrPortFrom(addr, a.Port)))
	if err != nil {
		return saying{}, nil, err
	}
	defer hangUp(conn)
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if a.Send != "" {
		if _, err := io.WriteString(conn, a.Send); err != nil {
			return saying{}, nil, err
		}
	}
	line, err := readReport(bufio.NewReader(io.LimitReader(conn, maxReportLine)))
	if err != nil {
		return saying{}, nil, err
	}
	return parseReport(line)
}

// errUnended is a line that breaks off: half of a word, or of a number, may mean the contrary.
var errUnended = errors.New("the agent's line has no newline at its end, and does not count")

// readReport reads a line to its newline or carriage return, as HAProxy does. What comes then is not waited for.
func readReport(r io.ByteReader) (string, error) {
	var line []byte
	for {
		switch c, err := r.ReadByte(); {
		case err == io.EOF && len(line) == 0:
			return "", errNothingSaid
		case err == io.EOF:
			return "", errUnended
		case err != nil:
			return "", err
		case c == '\n', c == '\r':
			return string(line), nil
		default:
			line = append(line, c)
		}
	}
}

package bench

import (
	"fmt"
	"time"
)

// inTheWay is the part of the machine's CPUs that clients may take before they slow others: below it they mostly wait.
const inTheWay = 0.1

// warn says what a reader must know before believing the figures.
func (r *run) warn() {
	res := r.result
	warn := func(format string, args ...any) { res.Warnings = append(res.Warnings, fmt.Sprintf(format, args...)) }
	part := 0.0 // of the machine
	if took := res.Took; took > 0 {
		if part = res.Client.CPU.Seconds() / (took.Seconds() * float64(res.Host.CPUs)); part > 0.5 {
			warn("The clients took %.0f %% of the machine's CPU: what is measured is them as much as the target. Take a lower rate, or another machine for the clients.", 100*part)
		}
	}
	if cheapest, name, ok := res.cheapestBackend(); ok && part > inTheWay {
		if own := res.CPUPerConn(&res.Client); own > cheapest {
			warn("The clients took %v of CPU per conn and the backend %s %v: on the same machine the clients slow what they measure.",
				own.Round(time.Microsecond), name, cheapest.Round(time.Microsecond))
		}
	}
	if res.Lost > 0 {
		warn("%d conns were still open when the run ended.", res.Lost)
	}
	if r.plan.Rate == 0 && r.plan.Scenario != Rate && !r.holds() {
		warn("This was a closed loop: no conn began before the last one of its client had ended, so a stall shows in few latencies. Give a rate for latencies to believe.")
	}
	for i := range res.Groups {
		g := &res.Groups[i]
		switch {
		case !g.Kind.resumes() || g.Total.Shaken == 0 || r.groups[i].Hold:
		case g.Total.Offered == 0:
			warn("No client of group %s had anything to offer: the target gave no session for %s, or no client came twice.", g.Name, g.Kind)
		case g.Kind == Early && g.Total.EarlyOffered == 0:
			warn("No client of group %s could send early data: the target's tickets allow none (nginx: ssl_early_data on).", g.Name)
		}
	}
}

// cheapestBackend returns the least CPU time per conn among the watched backends. Where backends name themselves as they
// are watched each has its own conns, else all have the same share.
func (r *Result) cheapestBackend() (cpu time.Duration, name string, ok bool) {
	conns := map[string]int64{}
	var all int64
	for i := range r.Groups {
		for backend, t := range r.Groups[i].Backends {
			conns[backend] += t.Conns
			all += t.Conns
		}
	}
	backends := 0
	for i := range r.Watched {
		if r.Watched[i].Role == "backend" {
			backends++
		}
	}
	for i := range r.Watched {
		u := &r.Watched[i]
		if u.Role != "backend" || u.CPU == 0 { // 0: it ended during the run
			continue
		}
		n := conns[u.Name]
		if n == 0 && conns[""] > 0 {
			n = all / int64(backends)
		}
		if n == 0 {
			continue
		}
		if per := u.CPU / time.Duration(n); !ok || per < cpu {
			cpu, name, ok = per, u.Name, true
		}
	}
	return cpu, name, ok
}

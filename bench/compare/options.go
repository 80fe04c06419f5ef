package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"homing/bench"
	"homing/bench/balancers"
	"homing/bench/report"
)

// Backends are servers, each in a process of its own: farm.Backends.
type Backends interface {
	bench.Teller
	// Addrs are the addresses, host:port, of all backends.
	Addrs() []string
	// Watched are their processes and names, by which Control knows them, in the order of Addrs.
	Watched() []bench.Watched
	// Roots are the certificates to trust, in PEM.
	Roots() string
	// Describe says what they are, for people.
	Describe() string
}

// Options of a comparison. The zero value of a field means what its comment says.
type Options struct {
	// Scenarios are names of Scenarios. None: resume.
	Scenarios []string
	// Kinds of clients. None: id, ticket, psk.
	Kinds []bench.Kind
	// Sources are where clients come from, in the scenarios that ask. None: own and roam.
	Sources []bench.Sources

	// Rounds that each arm gets in each test, 1 to 1000. 0 is 5, fewer cannot tell much; but 3 in low, which has many tests.
	Rounds int
	// Duration of what is recorded in each round, and WarmUp before it. 0: what suits the scenario.
	Duration, WarmUp time.Duration
	// Rate of conns per second, where the loop is open. 0: what suits the scenario.
	Rate float64
	// Clients in all. 0: what suits the scenario.
	Clients int
	// Delay each way, in the scenario distance. 0 is 50 ms.
	Delay time.Duration
	// Threads of each balancer. 0 is 1.
	Threads int

	// Balancers to compare, of Kit, and those that were asked for and cannot take part.
	Kit       *balancers.Kit
	Balancers []balancers.Balancer
	Absent    []balancers.Absent
	// Backends that all of them stand before. Churn takes some of them down and up again.
	Backends Backends
	// ServerName that their certificates hold for.
	ServerName string

	// Run runs one plan: bench.Run.
	Run func(context.Context, bench.Plan, func(bench.Progress)) (*bench.Result, error)
	// Watch lets one plan's time pass without conns: bench.Watch.
	Watch func(context.Context, bench.Plan) (*bench.Result, error)
	// Progress, if not nil, is told before each round what comes, how much of the run is behind it, and how long what
	// comes and the whole run should take. It must not block.
	Progress func(Progress)
}

// Progress of a run.
type Progress struct {
	What string
	// Done and Next are what is behind and what the round that begins should take, of Total.
	Done, Next, Total time.Duration
}

// maxRounds bounds what one may ask for by mistake.
const maxRounds = 1000

// CheckFlags fills in what is left open and returns an error, one line, for what cannot be done with any backends.
func (o *Options) CheckFlags() error {
	if len(o.Scenarios) == 0 {
		o.Scenarios = []string{string(bench.Resume)}
	}
	if len(o.Kinds) == 0 {
		o.Kinds = []bench.Kind{bench.ID, bench.Ticket, bench.PSK}
	}
	if len(o.Sources) == 0 {
		o.Sources = []bench.Sources{bench.SourceOwn, bench.SourceRoam}
	}
	o.Threads = max(o.Threads, 1)
	for _, s := range o.Scenarios {
		if !slices.Contains(Scenarios(), s) {
			return fmt.Errorf("scenario: %q is none of %s", s, strings.Join(Scenarios(), ", "))
		}
	}
	for _, k := range o.Kinds {
		if !slices.Contains(bench.Kinds(), k) {
			return fmt.Errorf("kind: %q is none of %s", k, join(bench.Kinds()))
		}
	}
	for _, s := range o.Sources {
		if !slices.Contains(sources(), s) {
			return fmt.Errorf("sources: %q is none of %s", s, join(sources()))
		}
	}
	switch {
	case o.Rounds < 0 || o.Rounds > maxRounds:
		return fmt.Errorf("rounds: %d is not between 1 and %d", o.Rounds, maxRounds)
	case len(o.Balancers) == 0 && len(o.Absent) > 0:
		return fmt.Errorf("through: there is nothing left to compare: %s", o.Absent[0].Why)
	case len(o.Balancers) == 0:
		return errors.New("through: there is nothing to compare: name balancers that are installed")
	}
	return nil
}

// Check is CheckFlags and asks, with the backends, whether every plan can be carried out.
func (o *Options) Check() error {
	if err := o.CheckFlags(); err != nil {
		return err
	}
	if o.Backends == nil || len(o.Backends.Addrs()) == 0 {
		return errors.New("backends: there is none")
	}
	for _, t := range o.tests() {
		p := t.Plan
		p.Control = o.Backends // as it will have
		if err := p.Check(); err != nil {
			return fmt.Errorf("%s: %w", t.Key, err)
		}
	}
	return nil
}

// Scenarios lists what can be asked for.
func Scenarios() []string {
	list := []string{string(bench.Resume), report.Second, report.Steady, report.Distance, report.Low}
	for _, s := range bench.Scenarios() {
		if s != bench.Resume {
			list = append(list, string(s))
		}
	}
	return list
}

func sources() []bench.Sources {
	return []bench.Sources{bench.SourceOwn, bench.SourceRoam, bench.SourceShared}
}

func join[T ~string](list []T) string {
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = string(w)
	}
	return strings.Join(words, ", ")
}

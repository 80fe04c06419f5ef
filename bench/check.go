package bench

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Bounds of a Plan.
const (
	maxClients  = 1_000_000
	maxRate     = 1_000_000 // conns per second
	maxDelay    = 10 * time.Second
	maxWarmUp   = time.Hour
	maxDuration = 24 * time.Hour
	maxLoops    = 1024
	// maxLifetime is TLS 1.3's own, RFC 9846 section 4.7.1.
	maxLifetime = 7 * 24 * time.Hour
	// maxResponse is what a range of /data may ask for: backends of ours have that much.
	maxResponse = int64(1) << 40
)

// Check fills in what the plan leaves open and returns an error, one line that names the field, for what cannot be done.
func (p *Plan) Check() error {
	p.fill()
	if err := p.checkNumbers(); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if err := p.checkTargets(); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	if len(p.Groups) > p.Clients {
		return fmt.Errorf("bench: %d groups of clients need at least as many clients, not %d", len(p.Groups), p.Clients)
	}
	seen := map[string]bool{}
	for i := range p.Groups {
		g := &p.Groups[i]
		if err := g.check(); err != nil {
			return fmt.Errorf("bench: group %s: %w", g.Name, err)
		}
		if seen[g.Name] {
			return fmt.Errorf("bench: two groups have the name %s", g.Name)
		}
		seen[g.Name] = true
	}
	for i := range p.Groups {
		if p.Groups[i].Hold != p.Groups[0].Hold {
			return errors.New("bench: hold: all groups hold their conns, or none does")
		}
	}
	if len(p.Disturb) > 0 && p.Control == nil {
		return errors.New("bench: disturb: nobody is there to carry it out")
	}
	return nil
}

func (p *Plan) fill() {
	p.Clients = cmp.Or(p.Clients, 1000)
	p.Duration = cmp.Or(p.Duration, 10*time.Second)
	p.Timeout = cmp.Or(p.Timeout, 10*time.Second)
	p.Loops = min(cmp.Or(p.Loops, runtime.GOMAXPROCS(0)), p.Clients)
	p.Verify = cmp.Or(p.Verify, VerifyOnce)
	for p.Seed == 0 {
		p.Seed = rand.Uint64()
	}
	p.Groups = slices.Clone(p.Groups)
	for i := range p.Groups {
		g := &p.Groups[i]
		g.Share = cmp.Or(g.Share, 1)
		g.Requests = cmp.Or(g.Requests, 1)
		if g.Name == "" {
			g.Name = string(g.Kind)
			if shape := g.Shape.String(); shape != "" {
				g.Name += " " + shape
			}
		}
	}
	if p.Scenario == Rate && len(p.Steps) == 0 {
		p.Steps = risingSteps(cmp.Or(p.Rate, 250))
	}
}

// risingSteps are rates from the first on, each a tenth above the one before it, as far as one machine may go.
func risingSteps(first float64) []float64 {
	var steps []float64
	for r := first; r <= maxRate && len(steps) < 60; r *= 1.1 {
		steps = append(steps, r)
	}
	return steps
}

func (p *Plan) checkNumbers() error {
	switch {
	case p.Clients < 1 || p.Clients > maxClients:
		return fmt.Errorf("clients: %d is not between 1 and %d", p.Clients, maxClients)
	case !(p.Rate >= 0 && p.Rate <= maxRate): // so written that NaN fails
		return fmt.Errorf("rate: %v conns per second is not between 0 and %d", p.Rate, maxRate)
	case p.Delay < 0 || p.Delay > maxDelay:
		return fmt.Errorf("delay: %v is not between 0 and %v", p.Delay, maxDelay)
	case p.WarmUp < 0 || p.WarmUp > maxWarmUp:
		return fmt.Errorf("warm-up: %v is not between 0 and %v", p.WarmUp, maxWarmUp)
	case p.Duration < 0 || p.Duration > maxDuration:
		return fmt.Errorf("duration: %v is not between 0 and %v", p.Duration, maxDuration)
	case p.Timeout < 0 || p.Timeout > maxDuration:
		return fmt.Errorf("timeout: %v is not between 0 and %v", p.Timeout, maxDuration)
	case p.Timeout < 4*p.Delay:
		return fmt.Errorf("timeout: %v is shorter than a handshake with a delay of %v each way", p.Timeout, p.Delay)
	case p.Loops < 1 || p.Loops > maxLoops:
		return fmt.Errorf("loops: %d is not between 1 and %d", p.Loops, maxLoops)
	case len(p.Groups) == 0:
		return errors.New("groups: there is none, so no client has anything to do")
	case p.Verify != VerifyOnce && p.Verify != VerifyAlways && p.Verify != VerifyOff:
		return fmt.Errorf("verify: %q is none of once, always, off", p.Verify)
	}
	for _, r := range p.Steps {
		if !(r > 0 && r <= maxRate) {
			return fmt.Errorf("steps: %v conns per second is not between 0 and %d", r, maxRate)
		}
	}
	return nil
}

// checkTargets sees to addresses and to where the conns come from.
func (p *Plan) checkTargets() error {
	if len(p.Targets) == 0 {
		return errors.New("targets: there is none: give HOST:PORT")
	}
	loopback := true
	for _, t := range p.Targets {
		host, _, err := net.SplitHostPort(t)
		if err != nil {
			return fmt.Errorf("target %q: not HOST:PORT", t)
		}
		ip, err := netip.ParseAddr(host)
		loopback = loopback && (host == "localhost" || err == nil && ip.Is4() && ip.IsLoopback())
		if err != nil && len(p.Names) == 0 && host == "" {
			return fmt.Errorf("target %q: no host", t)
		}
	}
	if p.Sources == "" {
		p.Sources = SourceKernel
		if loopback {
			p.Sources = SourceOwn
		}
	}
	switch p.Sources {
	case SourceKernel:
	case SourceOwn, SourceRoam, SourceShared:
		if !loopback {
			return fmt.Errorf("sources: %s takes addresses of 127.0.0.0/8, from where %s cannot be reached", p.Sources, strings.Join(p.Targets, " "))
		}
	default:
		return fmt.Errorf("sources: %q is none of own, roam, shared, kernel", p.Sources)
	}
	return nil
}

func (g *GroupPlan) check() error {
	switch {
	case !slices.Contains(Kinds(), g.Kind):
		return fmt.Errorf("kind: %q is none of %s", g.Kind, joinKinds())
	case !(g.Share > 0 && g.Share <= 1e6):
		return fmt.Errorf("share: %v is not between 0 and 1,000,000", g.Share)
	case g.Requests < -1 || g.Requests > 1_000_000:
		return fmt.Errorf("requests: %d is not between -1 and 1,000,000", g.Requests)
	case g.Think < 0 || g.Think > maxWarmUp:
		return fmt.Errorf("think: %v is not between 0 and %v", g.Think, maxWarmUp)
	case g.Response < 0 || g.Response > maxResponse:
		return fmt.Errorf("response: %d bytes is not between 0 and %d", g.Response, maxResponse)
	case g.Lifetime < 0 || g.Lifetime > maxLifetime:
		return fmt.Errorf("lifetime: %v is not between 0 and %v", g.Lifetime, maxLifetime)
	case g.ReadRate < 0:
		return fmt.Errorf("read rate: %d is below 0", g.ReadRate)
	case g.Hold && g.Requests < 0:
		return errors.New("requests: a held conn has to send one, else nobody knows whether it lives")
	}
	return g.Shape.check()
}

// Kinds lists all kinds.
func Kinds() []Kind { return []Kind{Full12, Full13, ID, Ticket, PSK, Early} }

func joinKinds() string {
	var list []string
	for _, k := range Kinds() {
		list = append(list, string(k))
	}
	return strings.Join(list, ", ")
}

// modern reports whether the kind needs TLS 1.3.
func (k Kind) modern() bool { return k == Full13 || k == PSK || k == Early }

// resumes reports whether the kind offers sessions.
func (k Kind) resumes() bool { return k != Full12 && k != Full13 }

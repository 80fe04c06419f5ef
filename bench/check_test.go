package bench

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func good() Plan {
	return Plan{Targets: []string{"127.0.0.1:443"}, Groups: []GroupPlan{{Kind: PSK}}}
}

func TestCheckFillsIn(t *testing.T) {
	p := good()
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	if p.Clients != 1000 || p.Duration != 10*time.Second || p.Timeout != 10*time.Second || p.Loops < 1 || p.Verify != VerifyOnce ||
		p.Sources != SourceOwn || p.Seed == 0 || p.Groups[0].Name != "psk" || p.Groups[0].Requests != 1 || p.Groups[0].Share != 1 {
		t.Errorf("%+v", p)
	}
	far := good()
	far.Targets, far.Clients = []string{"[2001:db8::1]:443"}, 1
	if err := far.Check(); err != nil || far.Sources != SourceKernel || far.Loops != 1 {
		t.Errorf("%+v, %v", far, err)
	}
	// What Check changes is the plan's alone.
	shared := []GroupPlan{{Kind: ID}}
	p = good()
	p.Groups = shared
	if err := p.Check(); err != nil || shared[0].Name != "" {
		t.Errorf("%+v, %v", shared, err)
	}
}

func TestCheckRefuses(t *testing.T) {
	for want, change := range map[string]func(*Plan){
		"clients":           func(p *Plan) { p.Clients = -1 },
		"rate":              func(p *Plan) { p.Rate = math.NaN() },
		"delay":             func(p *Plan) { p.Delay = time.Hour },
		"timeout: 1ms":      func(p *Plan) { p.Delay, p.Timeout = time.Second, time.Millisecond },
		"warm-up":           func(p *Plan) { p.WarmUp = -1 },
		"duration":          func(p *Plan) { p.Duration = 25 * time.Hour },
		"loops":             func(p *Plan) { p.Loops = 4096; p.Clients = 5000 },
		"groups":            func(p *Plan) { p.Groups = nil },
		"2 groups":          func(p *Plan) { p.Groups = []GroupPlan{{Kind: ID}, {Kind: PSK}}; p.Clients = 1 },
		"the name psk":      func(p *Plan) { p.Groups = []GroupPlan{{Kind: PSK}, {Kind: PSK}} },
		"verify":            func(p *Plan) { p.Verify = "never" },
		"steps":             func(p *Plan) { p.Steps = []float64{100, -1} },
		"targets":           func(p *Plan) { p.Targets = nil },
		"not HOST:PORT":     func(p *Plan) { p.Targets = []string{"127.0.0.1"} },
		"cannot be reached": func(p *Plan) { p.Targets, p.Sources = []string{"192.0.2.1:1"}, SourceRoam },
		"sources":           func(p *Plan) { p.Sources = "all" },
		"disturb":           func(p *Plan) { p.Disturb = []Disturbance{{}} },
		"kind":              func(p *Plan) { p.Groups[0].Kind = "quic" },
		"share":             func(p *Plan) { p.Groups[0].Share = -1 },
		"requests":          func(p *Plan) { p.Groups[0].Requests = -2 },
		"think":             func(p *Plan) { p.Groups[0].Think = -1 },
		"response":          func(p *Plan) { p.Groups[0].Response = -1 },
		"lifetime":          func(p *Plan) { p.Groups[0].Lifetime = -1 },
		"read rate":         func(p *Plan) { p.Groups[0].ReadRate = -1 },
		"held":              func(p *Plan) { p.Groups[0].Hold, p.Groups[0].Requests = true, -1 },
		"gap":               func(p *Plan) { p.Groups[0].Shape.Gap = time.Second },
	} {
		p := good()
		change(&p)
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("want an error about %q: %v", want, err)
		}
	}
}

func TestParseMix(t *testing.T) {
	groups, err := ParseMix("id=20, ticket=30%,psk")
	want := []GroupPlan{{Kind: ID, Share: 20}, {Kind: Ticket, Share: 30}, {Kind: PSK, Share: 1}}
	if err != nil || !slices.Equal(groups, want) {
		t.Errorf("%+v, %v", groups, err)
	}
	for _, bad := range []string{"", "id=0", "id=x", "tickets=1", "id=1,id=2", "id=NaN"} {
		if groups, err := ParseMix(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, groups)
		}
	}
}

func TestParseShape(t *testing.T) {
	for in, want := range map[string]Shape{
		"plain":                               {},
		"browser":                             {Browser: true},
		"records:32":                          {RecordBytes: 32},
		"segments:1":                          {SegmentBytes: 1},
		"browser+records:9+segments:7+gap:1s": {Browser: true, RecordBytes: 9, SegmentBytes: 7, Gap: time.Second},
	} {
		got, err := ParseShape(in)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v", in, got, err)
		}
		if s := got.String(); in != "plain" && s != in {
			t.Errorf("%q is written as %q", in, s)
		}
	}
	for _, bad := range []string{"", "large", "records:0", "records:x", "segments:99999", "gap:1s", "gap:x"} {
		if got, err := ParseShape(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, got)
		}
	}
}

func TestNewPlanIsGood(t *testing.T) {
	for _, s := range Scenarios() {
		p, err := NewPlan(s, "127.0.0.1:1")
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Check(); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	if _, err := NewPlan("speed"); err == nil {
		t.Error("a scenario that is none has a plan")
	}
}

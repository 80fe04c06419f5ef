package bench

import (
	"fmt"
	"time"
)

// Scenarios lists all scenarios.
func Scenarios() []Scenario {
	return []Scenario{Resume, Rate, Bulk, Idle, Churn, Failover, Fragment, Slow}
}

// NewPlan returns the plan of a scenario for these targets, to be changed at will before Run. It asks a target and a
// machine for little: what is to be measured in earnest has its own numbers.
func NewPlan(s Scenario, targets ...string) (Plan, error) {
	p := Plan{
		Scenario: s, Targets: targets, Clients: 200, Rate: 200,
		WarmUp: 3 * time.Second, Duration: 10 * time.Second, Timeout: 10 * time.Second,
		Groups: []GroupPlan{{Kind: ID}, {Kind: Ticket}, {Kind: PSK}},
	}
	switch s {
	case Resume:
	case Rate:
		p.Rate, p.Duration = 250, 2*time.Second // of each step
	case Bulk:
		// A closed loop: the next transfer begins when the last has ended.
		p.Clients, p.Rate, p.WarmUp, p.Timeout = 4, 0, time.Second, time.Minute
		p.Groups = []GroupPlan{{Kind: PSK, Response: 64 << 20}}
	case Idle:
		p.Clients = 1000
		p.Groups = []GroupPlan{{Kind: PSK, Hold: true}}
	case Churn:
		p.Duration = 20 * time.Second
	case Failover:
		p.Duration = 15 * time.Second
	case Fragment:
		p.Groups = fragmentGroups()
	case Slow:
		p.Clients = 600 // so that the slow ones are mostly done when they should come again
		p.Groups = []GroupPlan{
			{Name: "prompt", Kind: PSK, Share: 8},
			{Name: "slow hello", Kind: PSK, Shape: Shape{SegmentBytes: 64, Gap: 20 * time.Millisecond}},
			{Name: "slow reader", Kind: PSK, Response: 128 << 10, ReadRate: 256 << 10},
		}
	default:
		return Plan{}, fmt.Errorf("bench: there is no scenario %q", s)
	}
	return p, nil
}

// fragmentGroups is every way to cut a hello that balancers have been seen to stumble over, for every way to resume.
func fragmentGroups() []GroupPlan {
	var groups []GroupPlan
	for _, shape := range []Shape{
		{},
		{Browser: true}, // larger than one segment
		{RecordBytes: 32},
		{SegmentBytes: 1, Gap: 0}, // the header of the record arrives in pieces
		{Browser: true, RecordBytes: 512, SegmentBytes: 700, Gap: time.Millisecond},
	} {
		for _, k := range []Kind{ID, Ticket, PSK} {
			groups = append(groups, GroupPlan{Kind: k, Shape: shape})
		}
	}
	return groups
}

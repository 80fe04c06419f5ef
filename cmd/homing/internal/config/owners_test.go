//go:build linux

package config

import (
	"reflect"
	"testing"
	"time"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/health"
	"homing/balancer/pool"
	"homing/cluster"
	"homing/tlsparse"
)

// owned is what the owner of a setting says of it. A bound that is nil it does not have.
type owned struct{ def, least, most any }

// owners is what settings are by default where that is not their zero, and how far they go, by those who act by them.
func owners() map[string]owned {
	return map[string]owned{
		"timeouts.hello":       {balancer.DefaultHelloTimeout, nil, nil},
		"timeouts.connect":     {balancer.DefaultConnectTimeout, nil, nil},
		"timeouts.hold":        {balancer.DefaultHoldTimeout, nil, nil},
		"timeouts.handshake":   {balancer.DefaultHandshakeTimeout, nil, nil},
		"timeouts.idle":        {balancer.DefaultIdleTimeout, nil, nil},
		"timeouts.half_closed": {balancer.DefaultHalfClosedTimeout, nil, nil},
		"timeouts.keepalive":   {balancer.DefaultKeepAlive, nil, nil},
		"timeouts.user":        {balancer.DefaultUserTimeout, nil, nil},
		"timeouts.drain":       {30 * time.Second, nil, nil}, // these two are the command's own
		"timeouts.upgrade":     {30 * time.Second, nil, nil},

		"limits.hello":          {tlsparse.DefaultHelloLimit, nil, tlsparse.MaxHelloLimit},
		"limits.hold":           {balancer.DefaultHoldLimit, nil, nil},
		"limits.client_conns":   {0, nil, balancer.MaxSourceConns},
		"limits.client_rate":    {0, nil, balancer.MaxSourceRate},
		"limits.client_prefix4": {balancer.DefaultPrefix4, balancer.MinPrefix4, 32},
		"limits.client_prefix6": {balancer.DefaultPrefix6, balancer.MinPrefix6, 128},
		"socket_mode":           {balancer.DefaultMode, nil, nil},

		"tables.entries":        {affinity.DefaultTableEntries, 1, affinity.MaxEntries},
		"tables.client_entries": {affinity.DefaultClientEntries, 1, affinity.MaxEntries},
		"tables.session_ttl":    {affinity.DefaultSessionTTL, affinity.MinTTL, affinity.MaxTTL},
		"tables.ticket_ttl":     {affinity.DefaultTicketTTL, affinity.MinTTL, affinity.MaxTTL},

		"affinity_load_factor": {pool.DefaultLoadFactor, pool.MinLoadFactor, nil},
		"queue.conns":          {pool.DefaultQueue, nil, nil},
		"queue.timeout":        {pool.DefaultQueueTimeout, nil, nil},
		"second_chance.tries":  {pool.DefaultSecondTries, 1, pool.MaxSecondTries},
		"second_chance.budget": {pool.DefaultSecondBudget, 0, pool.MaxSecondTries},
		"slow_start":           {pool.NoSlowStart, nil, pool.MaxSlowStart},

		"checks.interval":          {health.DefaultInterval, health.MinInterval, nil},
		"checks.timeout":           {health.DefaultTimeout, nil, nil},
		"checks.rise":              {health.DefaultRise, 1, nil},
		"checks.fall":              {health.DefaultFall, 1, nil},
		"checks.method":            {health.DefaultMethod, nil, nil},
		"checks.path":              {health.DefaultPath, nil, nil},
		"probe.enabled":            {true, nil, nil},
		"probe.interval":           {health.DefaultProbeInterval, health.MinInterval, nil},
		"probe.names_from_traffic": {health.DefaultFromTraffic, nil, nil},

		"cluster.label":   {"homing", nil, nil},
		"discover_weight": {cluster.DefaultDiscoverWeight, 1, pool.MaxWeight},
	}
}

// TestRowsAreTheOwners: each row is by default what its owner is, its zero where the owner names nothing else, and takes
// nothing that its owner refuses. So what a file leaves out may be left out of the owner's options as well.
func TestRowsAreTheOwners(t *testing.T) {
	of := owners()
	for _, row := range topRows(Default()) {
		own, named := of[row.Key]
		delete(of, row.Key)
		v := reflect.ValueOf(row.Value)
		is := v.FieldByName("P").Elem()
		switch {
		case !named && !is.IsZero():
			t.Errorf("%s is %v by default, and nobody says so", row.Key, is)
		case named && !is.Equal(reflect.ValueOf(own.def).Convert(is.Type())):
			t.Errorf("%s is %v by default, its owner's is %v", row.Key, is, own.def)
		}
		for _, bound := range []struct {
			field string
			of    any
			sign  float64
		}{{"Min", own.least, 1}, {"Max", own.most, -1}} {
			if bound.of == nil {
				continue
			}
			if takes := v.FieldByName(bound.field); bound.sign*number(takes) < bound.sign*number(reflect.ValueOf(bound.of)) {
				t.Errorf("%s: %s is %v, its owner's %v", row.Key, bound.field, takes, bound.of)
			}
		}
	}
	for key := range of {
		t.Errorf("%s is no row", key)
	}
}

// number is a number of any kind.
func number(v reflect.Value) float64 { return v.Convert(reflect.TypeFor[float64]()).Float() }

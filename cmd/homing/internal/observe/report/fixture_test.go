package report

import (
	"time"

	"homing/balancer/affinity"
	"homing/cmd/homing/internal/observe/judge"
)

// begun is when the captures of the fixtures begin.
func begun() time.Time { return time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC) }

// outcome is what comes of offers, lost ones of which homing saves what saved says.
func outcome(fresh, accepted, lost uint64, saved judge.Prediction, seen bool) judge.Outcome {
	scaled := func(share float64) float64 { return float64(accepted) + share*float64(lost) }
	o := judge.Outcome{
		Handshakes: fresh + accepted + lost, Fresh: fresh, Offers: accepted + lost, Accepted: accepted, Refused: lost, Lost: lost,
		Why: map[string]uint64{}, Seen: seen, Saved: saved,
		Homing: judge.Prediction{Accepted: scaled(saved.Accepted), Low: scaled(saved.Low), High: scaled(saved.High)},
	}
	if o.Offers > 0 {
		o.LostShare = float64(lost) / float64(o.Offers)
	}
	return o
}

// between is a capture of an hour between balancer and servers.
func between() *judge.Findings {
	sure := judge.Prediction{Accepted: 0.987, Low: 0.98, High: 0.99}
	f := &judge.Findings{
		Format: judge.Format, Begun: begun(), Ended: begun().Add(time.Hour), Observed: 3600,
		View:  judge.View{Kind: judge.ViewBetween, Why: "2 servers: 4,990 offers went to an address for what another had issued"},
		Total: outcome(700, 7257, 5043, sure, true),
		Kinds: []judge.Row{
			{Version: "TLS 1.3", Kind: "psk", Outcome: outcome(0, 5000, 4000, sure, true)},
			{Version: "TLS 1.2", Kind: "id", Outcome: outcome(0, 2257, 1043, sure, true)},
			{Version: "TLS 1.3", Kind: "none", Outcome: outcome(700, 0, 0, judge.Prediction{}, true)},
		},
		ByName: []judge.Row{
			{Name: "www.example.org", Outcome: outcome(600, 7000, 5000, sure, true)},
			{Name: "", Outcome: outcome(100, 257, 43, judge.Prediction{Accepted: 0.9, Low: 0.4, High: 1}, true)},
		},
		Rows: []judge.Row{
			{Service: "192.0.2.11:443", Name: "www.example.org", Version: "TLS 1.3", Kind: "psk", Outcome: outcome(0, 7257, 5043, sure, true), Flight: judge.Flights{Full: 3200, Resumed: 250}},
		},
		Servers: []judge.Server{
			{Address: "192.0.2.11:443", Role: "backend", Counted: true, AtLeast: 1, Outcome: outcome(350, 3600, 2500, sure, true)},
			{Address: "[2001:db8::12]:443", Role: "backend", Given: true, Counted: true, AtLeast: 1, Outcome: outcome(350, 3657, 2543, sure, true)},
		},
		Costs: judge.Costs{
			RoundTrips: 1043, RoundTripTime: 0.0213, Bytes: 14.9e6, Handshakes: 5043,
			Certificates: []judge.Certificate{
				{Kind: "rsa2048", How: judge.CertificateNear, Handshakes: 4000},
				{How: judge.CertificateAssumed, Handshakes: 600},
				{Kind: "rsa2048", How: judge.CertificateRead, Handshakes: 443},
			},
			CPU: []judge.CPU{
				{Certificate: "RSA 2048", How: judge.CertificateRead, Handshakes: 4443, Each: 0.0009, All: 3.9987},
				{Certificate: "RSA 2048", How: judge.CertificateAssumed, Handshakes: 600, Each: 0.0009, All: 0.54},
				{Certificate: "ECDSA P-256", How: judge.CertificateAssumed, Handshakes: 600, Each: 0.00003, All: 0.018},
			},
		},
		Keys: []judge.Key{
			{ID: "0badcafe", Length: 16, Holders: []string{"192.0.2.11:443"}, Since: begun(), Last: begun().Add(time.Hour), Uses: 4000},
			{ID: "deadbeef", Length: 20, Holders: []string{"192.0.2.11:443", "[2001:db8::12]:443"}, Since: begun().Add(-50 * time.Hour), Last: begun(), Uses: 12, Old: true},
		},
		Keyless: 17,
		Hellos: judge.HelloFindings{
			Count: 13100, MeanBytes: 1432.5, Longest: 2295, TLS13: 0.71, PostQuantum: 0.6512, ECH: 0.4, EarlyData: 0.0004, NoName: 0.03, Retries: 0.002,
			Sizes: []judge.SizeCount{{UpTo: 600, Count: 4000}, {UpTo: 1400}, {UpTo: 2000, Count: 9000}, {Count: 100}},
		},
		Clients: judge.ClientFindings{Seen: 900, Returned: 800, Never: 20, Without: 45, Addresses: 1, Hidden: true},
		Unjudged: judge.UnjudgedFindings{
			Opened: 13200, Opaque: 3, Silent: 40, Unanswered: 2, Missing: 55, Why: map[string]uint64{"gap": 30, "begin_not_captured": 25}, Offers: 12, Bound: 0.0023,
		},
		Capture: judge.Capture{Source: "trace.pcapng", Packets: 190_000, Bytes: 80_000_000, Dropped: 7, Cut: 2, Link: 1, Ended: "trace.pcapng: packet 190001: cut off in the middle"},
	}
	f.Total.Refused += 30
	f.Total.Offers += 30
	f.Total.DoubtfulIDs = 30
	f.Total.Undecided, f.Total.Outlived, f.Total.MayOutlive = 4, 60, 9
	f.Total.Why = map[string]uint64{"elsewhere": 4900, "likely_elsewhere": 90, "expired": 50, "rotated": 3, "unknown": 30}
	f.Tallies[affinity.OfferPSK] = judge.Tally{Accepted: 5000, Refused: 4000}
	f.Tallies[affinity.OfferID] = judge.Tally{Accepted: 2257, Refused: 1043}
	return f
}

// before is a capture before the balancer.
func before() *judge.Findings {
	some := judge.Prediction{Accepted: 0.965, Low: 0.626, High: 1}
	return &judge.Findings{
		Format: judge.Format, Begun: begun(), Ended: begun().Add(20 * time.Second), Observed: 20, SetBack: 1,
		View:    judge.View{Kind: judge.ViewBefore, Why: "one address answers"},
		Total:   outcome(60, 595, 1205, some, false),
		Kinds:   []judge.Row{{Version: "TLS 1.2", Kind: "ticket", Outcome: outcome(60, 595, 1205, some, false)}},
		Servers: []judge.Server{{Address: "192.0.2.1:443", Role: "alone", Counted: true, AtLeast: 3, KeysAtOnce: 3, Proven: 754, Outcome: outcome(60, 595, 1205, some, false)}},
		Costs: judge.Costs{
			Handshakes: 1205, Bytes: 1.3e6, RoundTrips: 796,
			Certificates: []judge.Certificate{{Kind: "p256", How: judge.CertificateRead, Handshakes: 1205}},
			CPU:          []judge.CPU{{Certificate: "ECDSA P-256", How: judge.CertificateRead, Handshakes: 1205, Each: 0.00003, All: 0.03615}},
		},
		Unjudged: judge.UnjudgedFindings{Opened: 1860},
	}
}

// single is a capture before one server.
func single() *judge.Findings {
	f := before()
	f.Total = outcome(60, 1700, 100, judge.Prediction{High: 1}, false)
	f.Servers[0] = judge.Server{Address: "192.0.2.1:443", Role: "alone", Counted: true, AtLeast: 1, KeysAtOnce: 1, Outcome: f.Total}
	return f
}

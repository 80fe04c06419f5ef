package integration

import (
	"encoding/hex"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket/layers"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/cmd/homing/internal/observe/flow"
	findings "homing/cmd/homing/internal/observe/judge"
)

// What flow says of each conn between balancer and servers is what the client offered and what nginx has logged, and the bytes
// are those that tshark sees; a mirror before the balancer shows the same handshakes.
func TestIntegrationObserveEachHandshake(t *testing.T) {
	s := newObservedSite(t, farm.NginxConfig{})
	s.roundRobin(t)
	recorders := []*mirror{s.record(t, "back.pcap", mirrorBack), s.record(t, "front.pcap", mirrorFront), s.record(t, "both.pcap", mirrorBoth)}
	p := newItinerary(t, s, 4)
	p.run(t, 600)
	p.curl(t, 20, offersNothing, offersPSK)
	p.curl(t, 20, offersNothing, offersID, "--tls-max", "1.2") // curl turns tickets off
	p.gnutls(t, 10, offersPSK, "NORMAL:-VERS-ALL:+VERS-TLS1.3")
	p.gnutls(t, 10, offersTicket, "NORMAL:-VERS-ALL:+VERS-TLS1.2")
	p.gnutls(t, 10, offersID, "NORMAL:-VERS-ALL:+VERS-TLS1.2:%NO_TICKETS")
	truth := p.truth(t)
	for i, r := range recorders {
		file := r.end(t)
		list, stats := testify(t, file, 443)
		if stats.Unsettled != [flow.NumEnds]uint64{} {
			t.Errorf("%s: not over: %v", file, stats.Unsettled)
		}
		if i != 1 {
			compareTruth(t, truth, list)
		}
		var wire int
		for _, x := range list {
			if x.Server == strings.Replace(siteAddr, ":", " ", 1) {
				wire++
			}
		}
		if i != 0 && wire != len(truth) {
			t.Errorf("%s: %d conns to the balancer, want %d", file, wire, len(truth))
		}
		compareShark(t, shark(t, file), list)
	}
}

// Where the balancer tells the servers of its clients by PROXY headers, the handshakes behind these are read, and the clients are
// known.
func TestIntegrationObserveProxyHeaders(t *testing.T) {
	s := newObservedSite(t, farm.NginxConfig{Proxy: true})
	for i, words := range []string{"send-proxy", "send-proxy-v2"} {
		if i > 0 {
			s.forget(t)
		}
		balancer := s.roundRobin(t, words)
		back, both := s.record(t, "back.pcap", mirrorBack), s.record(t, "both.pcap", mirrorBoth)
		p := newItinerary(t, s, 3)
		p.run(t, 300)
		truth := p.truth(t)
		balancer.Stop()
		file := back.end(t)
		f := observe(t, file)
		compareFindings(t, truth, f)
		checkView(t, f, findings.ViewBetween)
		if f.Clients.Hidden || f.Clients.Addresses < 200 {
			t.Errorf("%s: the clients are %+v", words, f.Clients)
		}
		f = observe(t, both.end(t))
		compareFindings(t, truth, f)
		checkView(t, f, findings.ViewBoth)
	}
}

// compareTruth compares what is seen of conns to the servers with what they log.
func compareTruth(t *testing.T, truth []handshake, list []*testimony) {
	t.Helper()
	seen := map[place]handshake{}
	for _, x := range list {
		seen[place{x.server, x.client.Port()}] = x.handshake()
	}
	wrong := 0
	for _, h := range truth {
		if got := seen[place{h.Server, h.Port}]; got != h {
			if wrong++; wrong < 10 {
				t.Errorf("nginx %+v, seen %+v", h, got)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d handshakes are not what they were", wrong, len(truth))
	}
}

// compareShark compares the words of each conn.
func compareShark(t *testing.T, streams map[string]*said, list []*testimony) {
	t.Helper()
	own := map[string][]string{}
	for _, x := range list {
		key := x.Client + " " + x.Server
		own[key] = append(own[key], x.Words...)
	}
	wrong := 0
	for _, key := range slices.Sorted(maps.Keys(streams)) {
		if diff := cmp.Diff(clearWords(streams[key].Words), clearWords(own[key])); diff != "" {
			if wrong++; wrong < 5 {
				t.Errorf("%s (-tshark +flow):\n%s", key, diff)
			}
		}
		delete(own, key)
	}
	for key, words := range own {
		if len(words) > 0 {
			t.Errorf("%s: tshark sees nothing of %q", key, words)
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d conns are not what tshark sees", wrong, len(streams))
	}
}

// Each hello and each answer in the captures of Wireshark's own tests is what tshark sees.
func TestIntegrationObserveAgreesWithTshark(t *testing.T) {
	needServers(t)
	testkit.Need(t, "tshark")
	dir := os.Getenv("HOMING_CAPTURES")
	if dir == "" {
		t.Skip("HOMING_CAPTURES has no captures: make integration fetches them")
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.pcap*"))
	testkit.Check(t, err)
	words := 0
	for _, file := range files {
		if strings.Contains(file, "wireguard") { // a tunnel that tshark has a key of
			continue
		}
		// Some were cut to begin at the hello. Of a conn without a begin flow says nothing, by its rule.
		list := greeted(t, frames(t, file))
		if len(list) == 0 {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) { words += agree(t, list) })
	}
	t.Logf("%d hellos, answers and tickets", words)
	if words < 100 {
		t.Errorf("only %d hellos in %d files", words, len(files))
	}
}

// Each recorded hello of real clients is on the wire what it is for tshark, whole and in small pieces.
func TestIntegrationObserveRecordedHellos(t *testing.T) {
	needServers(t)
	testkit.Need(t, "tshark")
	files, err := filepath.Glob("../../../tlsparse/testdata/hellos/*.hex")
	testkit.Check(t, err)
	for _, piece := range []int{1400, 100} {
		var list []frame
		for i, file := range files {
			if strings.HasSuffix(file, "-second.hex") { // they come behind another
				continue
			}
			text, err := os.ReadFile(file)
			testkit.Check(t, err)
			hello, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
			testkit.Check(t, err)
			list = append(list, conversation(t, uint16(20000+i), hello, piece)...)
		}
		if words := agree(t, list); words < len(files)-2 {
			t.Errorf("%d hellos of %d files", words, len(files))
		}
	}
}

// agree compares what tshark and flow see in a capture, and returns how much it is.
func agree(t *testing.T, list []frame) (words int) {
	t.Helper()
	path := writeFrames(t, list)
	streams := shark(t, path)
	testimonies, stats := testify(t, path)
	compareShark(t, streams, testimonies)
	for _, s := range streams {
		words += len(clearWords(s.Words))
	}
	if t.Failed() {
		t.Logf("%+v", stats)
	}
	return words
}

// With packets that are missing, late and double, nothing is said that is wrong: what is said of a handshake is what nginx has
// logged, and each of which nothing is said is counted.
func TestIntegrationObserveLosses(t *testing.T) {
	s := newObservedSite(t, farm.NginxConfig{})
	s.roundRobin(t)
	recorder := s.record(t, "back.pcap", mirrorBack)
	p := newItinerary(t, s, 4)
	p.run(t, 600)
	truth := map[place]handshake{}
	for _, h := range p.truth(t) {
		truth[place{h.Server, h.Port}] = h
	}
	whole := frames(t, recorder.end(t))
	for _, tt := range []struct {
		name              string
		lost, late, twice float64
		snap              int
		judged            [2]float64 // share of the handshakes, at least and at most
	}{
		{"whole", 0, 0, 0, 0, [2]float64{1, 1}},
		{"late", 0, 0.05, 0, 0, [2]float64{0.95, 1}}, // some behind the end of their conn
		{"twice", 0, 0, 1, 0, [2]float64{1, 1}},
		{"lost", 0.05, 0, 0, 0, [2]float64{0.3, 0.95}},
		{"lost, late and twice", 0.05, 0.05, 0.05, 0, [2]float64{0.3, 0.95}},
		{"most lost", 0.5, 0.1, 0.1, 0, [2]float64{0, 0.2}},
		{"short", 0, 0, 0, 96, [2]float64{0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for seed := range uint64(5) {
				list := spoilt(rand.New(rand.NewPCG(17, seed)), whole, tt.lost, tt.late, tt.twice)
				if tt.snap > 0 {
					list = cutFrames(list, tt.snap)
				}
				testimonies, stats := testify(t, writeFrames(t, list), 443)
				judged := checkClaims(t, truth, testimonies)
				if share := float64(judged) / float64(len(truth)); share < tt.judged[0] || share > tt.judged[1] {
					t.Errorf("seed %d: %d of %d handshakes are judged: %+v", seed, judged, len(truth), stats)
				}
				var unsettled, ends uint64
				for i := range flow.NumEnds {
					unsettled, ends = unsettled+stats.Unsettled[i], ends+stats.Ends[i]
				}
				if unsettled != stats.Conns-uint64(judged) || ends != stats.Conns {
					t.Errorf("seed %d: %d judged, and not all others counted: %+v", seed, judged, stats)
				}
			}
		})
	}
}

// Where the two directions come from two recorders whose clocks differ, one side's packets come before those that they answer.
// The same is seen, but of some that the server resets before its client's packets come.
func TestIntegrationObserveSkew(t *testing.T) {
	s := newObservedSite(t, farm.NginxConfig{})
	s.roundRobin(t)
	recorder := s.record(t, "back.pcap", mirrorBack)
	p := newItinerary(t, s, 4)
	p.run(t, 400)
	truth := map[place]handshake{}
	for _, h := range p.truth(t) {
		truth[place{h.Server, h.Port}] = h
	}
	whole := frames(t, recorder.end(t))
	for _, skew := range []time.Duration{-time.Second, -20 * time.Millisecond, -time.Millisecond, time.Millisecond, 20 * time.Millisecond, time.Second} {
		list := slices.Clone(whole)
		for i := range list {
			if tcp := decode(list[i]).TransportLayer().(*layers.TCP); tcp.DstPort == 443 {
				list[i].at = list[i].at.Add(skew)
			}
		}
		slices.SortStableFunc(list, func(a, b frame) int { return a.at.Compare(b.at) })
		testimonies, stats := testify(t, writeFrames(t, list), 443)
		if judged := checkClaims(t, truth, testimonies); judged < len(truth)*95/100 {
			t.Errorf("%v: %d of %d judged; %+v", skew, judged, len(truth), stats)
		}
	}
}

// Where each server, and each direction, has a recorder of its own, their files together say what one file says.
func TestIntegrationObserveSeveralFiles(t *testing.T) {
	s := newObservedSite(t, farm.NginxConfig{})
	s.roundRobin(t)
	recorder := s.record(t, "back.pcap", mirrorBack)
	p := newItinerary(t, s, 4)
	p.run(t, 400)
	truth := p.truth(t)
	file := recorder.end(t)
	parts := map[string][]frame{}
	for _, f := range frames(t, file) {
		hosts := decode(f).NetworkLayer().NetworkFlow().String()
		parts[hosts] = append(parts[hosts], f)
	}
	var names []string
	for _, part := range parts {
		names = append(names, "--pcap", writeFrames(t, part))
	}
	whole, several := observe(t, file), observe(t, names[1], names[2:]...)
	compareFindings(t, truth, several)
	if len(parts) != 6 || several.SetBack != 0 {
		t.Errorf("%d files, set back %d times", len(parts), several.SetBack)
	}
	if diff := cmp.Diff(whole.Total, several.Total); diff != "" {
		t.Errorf("(-whole +several):\n%s", diff)
	}
}

// checkClaims compares what is claimed of handshakes with what nginx has logged, and counts the claims.
func checkClaims(t *testing.T, truth map[place]handshake, list []*testimony) (judged int) {
	t.Helper()
	wrong := 0
	for _, x := range list {
		if !x.settled {
			continue
		}
		judged++
		if h := truth[place{x.server, x.client.Port()}]; x.answered && x.handshake() != h {
			if wrong++; wrong < 5 {
				t.Errorf("nginx %+v, claimed %+v, %+v", h, x.handshake(), x)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d wrong claims", wrong)
	}
	return judged
}

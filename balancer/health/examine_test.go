package health

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"homing/bench/testkit"
)

// Names of ticket keys begin differently, as real ones do.
const keyA, keyB = "A7xmeq0Zb3ncw5ty", "B8knw1fuq4Xcv6Lz"

// background runs f until the test ends, and then after.
func background(t *testing.T, f func(context.Context), after func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { f(ctx); close(ended) }()
	t.Cleanup(func() { cancel(); <-ended; after() })
}

// words are a finding in short: what a test can compare.
func words(f Findings) string {
	var w []string
	if f.Err != "" {
		w = append(w, "silent: "+f.Err)
	}
	for _, n := range f.Names {
		s := "(" + n.Name + ")"
		if n.Err != "" {
			s += " " + n.Err
		}
		for _, v := range n.Versions {
			s += fmt.Sprintf(" %s: %d tickets", strings.TrimPrefix(VersionName(v.Version), "TLS "), v.Tickets)
			if v.Resumed {
				s += " resumed"
			}
			if v.Lifetime > 0 {
				s += fmt.Sprintf(" %v", v.Lifetime)
			}
			if v.Key.Len > 0 {
				s += fmt.Sprintf(" %d bytes", v.Key.Len)
			}
			if v.NeedCert {
				s += " needs a certificate"
			}
			if v.Err != "" {
				s += " " + v.Err
			}
			s += ";"
		}
		w = append(w, s)
	}
	return strings.TrimSuffix(strings.Join(w, " "), ";")
}

// Each kind of backend that the probe may meet, on loopback.
func TestFindings(t *testing.T) {
	noTickets := func(_ *server, cfg *tls.Config) { cfg.SessionTicketsDisabled = true }
	needCert := func(_ *server, cfg *tls.Config) { cfg.ClientAuth = tls.RequireAnyClientCert }
	askCert := func(_ *server, cfg *tls.Config) { cfg.ClientAuth = tls.RequestClientCert }
	forgetful := func(_ *server, cfg *tls.Config) {
		cfg.UnwrapSession = func([]byte, tls.ConnectionState) (*tls.SessionState, error) { return nil, nil } // as above
	}
	oneShort := func(s *server, cfg *tls.Config) { // a TLS 1.2 server that leaves the old ticket in place
		cfg.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
			if cs.DidResume {
				return nil, nil
			}
			return s.ticket(cfg, cs, ss)
		}
	}
	oneByteMore := func(s *server, cfg *tls.Config) { // as happens once in 256 times
		cfg.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
			b, err := s.ticket(cfg, cs, ss)
			if s.issued.Load() <= 2 && err == nil {
				b[16] = 0
			}
			return b, err
		}
	}
	for _, tt := range []struct {
		sentence string
		edit     func(*server, *tls.Config)
		handle   func(*server, net.Conn)
		result   outcome
		want     string
		log      []string
	}{
		{
			"a backend that names its keys is learned", named(keyA), nil, outcomeNews,
			"() 1.3: 2 tickets resumed 168h0m0s 16 bytes; 1.2: 2 tickets resumed 16 bytes", nil,
		},
		{
			"one that does not has nothing to learn", nil, nil, outcomeSame,
			"() 1.3: 2 tickets resumed 168h0m0s; 1.2: 2 tickets resumed", nil,
		},
		{
			"TLS 1.3 alone", both(named(keyA), versions(tls.VersionTLS13, tls.VersionTLS13)), nil, outcomeNews,
			"() 1.3: 2 tickets resumed 168h0m0s 16 bytes", nil,
		},
		{
			"TLS 1.2 alone", both(named(keyA), versions(tls.VersionTLS12, tls.VersionTLS12)), nil, outcomeNews,
			"() 1.2: 2 tickets resumed 16 bytes", nil,
		},
		{
			"TLS 1.0 too is probed", both(named(keyA), versions(tls.VersionTLS10, tls.VersionTLS10)), nil, outcomeNews,
			"() 1.0: 2 tickets resumed 16 bytes", nil,
		},
		{
			"tickets are off", noTickets, nil, outcomeSame, "() 1.3: 0 tickets; 1.2: 0 tickets",
			[]string{
				`level=WARN msg="probe: the backend sends no tickets" pool=web backend=ADDR version="TLS 1.3" names=(none)`,
				`level=WARN msg="probe: the backend sends no tickets" pool=web backend=ADDR version="TLS 1.2" names=(none)`,
			},
		},
		{
			"a backend that refuses its own sessions", both(named(keyA), forgetful), nil, outcomeNews,
			"() 1.3: 2 tickets 168h0m0s 16 bytes; 1.2: 2 tickets 16 bytes",
			[]string{
				`level=WARN msg="probe: the backend does not resume its own session" pool=web backend=ADDR version="TLS 1.3" names=(none)`,
				`level=WARN msg="probe: the backend does not resume its own session" pool=web backend=ADDR version="TLS 1.2" names=(none)`,
			},
		},
		{
			"a client certificate that is not required does not matter", both(named(keyA), askCert), nil, outcomeNews,
			"() 1.3: 2 tickets resumed 168h0m0s 16 bytes; 1.2: 2 tickets resumed 16 bytes", nil,
		},
		{
			"a required one ends it, in TLS 1.3 after the handshake", needCert, nil, outcomeSame,
			"() 1.3: 0 tickets needs a certificate alert from the backend: certificate required; " +
				"1.2: 0 tickets needs a certificate alert from the backend: handshake failure",
			[]string{
				`level=WARN msg="probe: the backend wants a client certificate, so nothing can be learned of its tickets" pool=web backend=ADDR version="TLS 1.3" why="alert from the backend: certificate required" names=(none)`,
				`level=WARN msg="probe: the backend wants a client certificate, so nothing can be learned of its tickets" pool=web backend=ADDR version="TLS 1.2" why="alert from the backend: handshake failure" names=(none)`,
			},
		},
		{
			"in TLS 1.2 in its middle", both(needCert, versions(tls.VersionTLS12, tls.VersionTLS12)), nil, outcomeSame,
			"() 1.2: 0 tickets needs a certificate alert from the backend: handshake failure",
			[]string{
				`level=WARN msg="probe: the backend wants a client certificate, so nothing can be learned of its tickets" pool=web backend=ADDR version="TLS 1.2" why="alert from the backend: handshake failure" names=(none)`,
			},
		},
		{
			"a server that is not TLS", nil, func(s *server, c net.Conn) { fmt.Fprint(c, "SSH-2.0-test\r\n"); s.ignore(c) }, outcomeFailed,
			"() first record does not look like a TLS handshake",
			[]string{`level=WARN msg="probe: no handshake succeeds" pool=web backend=ADDR why="first record does not look like a TLS handshake" names=(none)`},
		},
		{
			"one that hangs up", nil, func(*server, net.Conn) {}, outcomeFailed, "", nil,
		},
		{
			"one that never answers", nil, (*server).ignore, outcomeFailed, "silent: timeout",
			[]string{`level=WARN msg="probe: no handshake succeeds" pool=web backend=ADDR why=timeout`},
		},
		{
			"a backend with one ticket a session is asked for another session", both(versions(tls.VersionTLS12, tls.VersionTLS12), both(named(keyA), oneShort)), nil, outcomeNews,
			"() 1.2: 2 tickets resumed 16 bytes", nil,
		},
		{
			"so is one whose first two tickets agree in a byte too many", both(versions(tls.VersionTLS13, tls.VersionTLS13), both(named(keyA), oneByteMore)), nil, outcomeNews,
			"() 1.3: 3 tickets resumed 168h0m0s 16 bytes", nil,
		},
	} {
		t.Run(tt.sentence, func(t *testing.T) {
			s := serve(t, tt.edit, tt.handle)
			lab := newLab(t, func(cfg *ProbeConfig) {
				if strings.Contains(tt.want, "timeout") {
					cfg.Timeout = 50 * time.Millisecond
				}
			}, s.addr)
			target := lab.targets()[0]
			result, f := lab.round(target)
			if result != tt.result {
				t.Errorf("outcome %d, want %d", result, tt.result)
			}
			if tt.want != "" { // how a backend hangs up is a matter of chance
				testkit.Eventually(t, "the findings "+tt.want+", got "+words(f), func() bool {
					return words(target.findings(uint32(time.Now().Unix()))) == tt.want
				})
				if diff := cmp.Diff(tt.log, lab.logged()); diff != "" {
					t.Errorf("log (-want +got):\n%s", diff)
				}
			}
			_, _ = lab.round(target)
			if again := lab.log.Take(); tt.want != "" && len(again) > 0 {
				t.Errorf("a second probe has logged again: %q", again)
			}
			if !lab.pool.Snapshot().All()[0].Up() || lab.pool.Snapshot().All()[0].Failures() != 0 {
				t.Error("the probe has changed the backend's state")
			}
			if n := s.data.Load(); n != 0 {
				t.Errorf("the probe sent %d bytes of application data", n)
			}
		})
	}
}

// logged is what was logged since the last call, with the address of the only backend left out.
func (lab *laboratory) logged() []string {
	addr := lab.pool.Snapshot().All()[0].Addr.String()
	var lines []string
	for _, line := range lab.log.Take() {
		lines = append(lines, strings.ReplaceAll(line, addr, "ADDR"))
	}
	return lines
}

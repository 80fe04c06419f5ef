package health

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"homing/balancer/pool"
)

// backendOf starts a server of HTTPS and gives its address and the root of its certificate (example.com).
func backendOf(t *testing.T, status int, http2 bool) (netip.AddrPort, *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "https://192.0.2.99/never") // no redirection is followed
		if r.URL.Path != "/health" || r.Host != "example.com" || r.Method != http.MethodHead {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.WriteHeader(status)
	}))
	s.EnableHTTP2 = http2
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return netip.MustParseAddrPort(s.Listener.Addr().String()), roots
}

// speaker starts a server that says text to whoever connects and hangs up, or, with "", says nothing for ever.
func speaker(t *testing.T, text string) netip.AddrPort {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if text == "" {
				defer c.Close()
				continue
			}
			_, _ = io.WriteString(c, text) // the check tells
			_ = c.Close()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// TestCheckSaysWhatIsTrue: one line of the table is one way in which a backend is well or not.
func TestCheckSaysWhatIsTrue(t *testing.T) {
	good, roots := backendOf(t, http.StatusNoContent, true)
	moved, _ := backendOf(t, http.StatusFound, false)
	broken, _ := backendOf(t, http.StatusServiceUnavailable, false)
	hangs := speaker(t, "")
	plain := speaker(t, "HTTP/1.1 400 Bad Request\r\n\r\n")
	gone := speaker(t, "x")
	expired := serve(t, nil, nil)
	closed := listen(t, "127.0.0.1:0")
	refuses := netip.MustParseAddrPort(closed.Addr().String())
	_ = closed.Close()

	tlsCheck := Check{Kind: CheckTLS}
	head := Check{Kind: CheckHTTPS, ServerName: "example.com", Method: http.MethodHead, Path: "/health"}
	with := func(k Check, edit func(*Check)) Check { edit(&k); return k }
	for name, c := range map[string]struct {
		check Check
		addr  netip.AddrPort
		want  string // of the error; "": none
	}{
		"TCP, refuses":                    {Check{}, refuses, "connection refused"},
		"TCP, hangs behind its accept":    {Check{}, hangs, ""},
		"TCP, another port":               {Check{Port: good.Port()}, refuses, ""},
		"TLS, well":                       {tlsCheck, good, ""},
		"TLS, expired certificate":        {tlsCheck, netip.MustParseAddrPort(expired.addr), ""},
		"TLS, hangs":                      {tlsCheck, hangs, "TLS handshake: timeout"},
		"TLS, refuses":                    {tlsCheck, refuses, "connection refused"},
		"TLS, not TLS":                    {tlsCheck, plain, "first record does not look like a TLS handshake"},
		"TLS, hangs up":                   {tlsCheck, gone, "TLS handshake: "},
		"TLS, verified":                   {with(tlsCheck, func(k *Check) { k.ServerName, k.Roots = "example.com", roots }), good, ""},
		"TLS, another name":               {with(tlsCheck, func(k *Check) { k.ServerName, k.Roots = "www.test", roots }), good, "TLS handshake: "},
		"TLS, another root":               {with(tlsCheck, func(k *Check) { k.ServerName, k.Roots = "example.com", x509.NewCertPool() }), good, "TLS handshake: "},
		"TLS, protocol spoken":            {with(tlsCheck, func(k *Check) { k.ALPN = []string{"h2"} }), good, ""},
		"TLS, protocol not spoken":        {with(tlsCheck, func(k *Check) { k.ALPN = []string{"mqtt"} }), good, "TLS handshake: "},
		"TLS, no protocol selected":       {with(tlsCheck, func(k *Check) { k.ALPN = []string{"h2"} }), netip.MustParseAddrPort(expired.addr), "none of the protocols h2 is spoken"},
		"HTTPS, well":                     {head, good, ""},
		"HTTPS, well by HTTP/2":           {with(head, func(k *Check) { k.ALPN = []string{"h2"} }), good, ""},
		"HTTPS, redirects, not followed":  {head, moved, ""},
		"HTTPS, redirects, not wanted":    {with(head, func(k *Check) { k.Expect = []StatusRange{{200, 299}} }), moved, "status 302, wanted [200-299]"},
		"HTTPS, unwell":                   {head, broken, "status 503, wanted [200-399]"},
		"HTTPS, another path":             {with(head, func(k *Check) { k.Path = "/" }), good, "status 418"},
		"HTTPS, unwell is what is wanted": {with(head, func(k *Check) { k.Expect = []StatusRange{{200, 200}, {503, 503}} }), broken, ""},
		"HTTPS, hangs":                    {head, hangs, "TLS handshake: timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := c.check.validate(); err != nil {
				t.Fatal(err)
			}
			limit := 10 * time.Second
			if strings.Contains(c.want, "timeout") {
				limit = 50 * time.Millisecond
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			err := c.check.run(ctx, c.addr, pool.ProxyOff)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("error %v, want none", err)
			case c.want != "" && (err == nil || !strings.Contains(cause(err), c.want)):
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestCheckRefusesNonsense(t *testing.T) {
	for _, k := range []Check{{Kind: NumKinds}, {Kind: CheckTLS, Roots: x509.NewCertPool()}, {Path: "health"}} {
		if _, err := New(nil, Config{Check: k}); err == nil {
			t.Errorf("check %+v is taken", k)
		}
	}
	for text, want := range map[string]string{"200": "200", "200-399": "200-399", "": "", "99": "", "200-": "", "300-200": "", "600": "", "2xx": ""} {
		r, err := ParseStatusRange(text)
		if (err == nil) != (want != "") || err == nil && r.String() != want {
			t.Errorf("status range %q is read as %v, %v", text, r, err)
		}
	}
}

func TestParseReport(t *testing.T) {
	for line, want := range map[string]string{
		"up":                    "ready up",
		"ready":                 "ready up",
		"75%":                   "75%",
		"75% up":                "75% up",
		"up,50%\tmaxconn:30":    "50% maxconn:30 up",
		"drain":                 "drain",
		"0%":                    "drain",
		"drain up":              "ready up", // the last counts
		"maint":                 "ready down (maint)",
		"down#out of disk":      "ready down (down: out of disk)",
		"75% stopped#by friday": "75% down (stopped: by friday)",
		"":                      "error",
		"UP?":                   "error",
		"-5%":                   "error",
		"300%":                  "error",
		"maxconn:":              "error",
		"maxconn:-1":            "error",
		"GET / HTTP/1.0":        "error",
	} {
		s, err := parseReport(line)
		got := s.report.String()
		switch {
		case err != nil:
			got = "error"
		case s.down:
			got += fmt.Sprintf(" down (%s)", s.why)
		case s.health:
			got += " up"
		}
		if got != want {
			t.Errorf("%q is read as %q, want %q", line, got, want)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	for _, line := range []string{"up", "down#why now", "75%,maxconn:3", "drain\t0%", "maint"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		s, err := parseReport(line)
		if err != nil && s != (saying{}) {
			t.Errorf("%q is an error and says %+v", line, s)
		}
		if r := s.report; r.Percent < 0 || r.Percent > 256 || r.MaxConns < 0 || s.down && s.why == "" {
			t.Errorf("%q is read as %+v", line, s)
		}
	})
}

// agentAt is an agent whose line can be changed; "": it hangs up without a word.
type agentAt struct {
	port  uint16
	line  chan string // the one in force
	asked atomic.Int64
}

func startAgent(t *testing.T) *agentAt {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	a := &agentAt{line: make(chan string, 1)}
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatal("no TCP address")
	}
	a.port = uint16(addr.Port)
	a.line <- "up"
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			line := <-a.line
			a.line <- line
			_, _ = io.WriteString(c, line) // the checker tells
			_ = c.Close()
			a.asked.Add(1)
		}
	}()
	return a
}

func (a *agentAt) say(line string) {
	<-a.line
	a.line <- line
}

// TestAgentIsHeard: what the agent says happens to the backend; what it cannot mean, or its silence, changes nothing.
func TestAgentIsHeard(t *testing.T) {
	backend, agent := speaker(t, "x"), startAgent(t)
	logged := &logBuffer{}
	log := slog.New(slog.NewTextHandler(logged, nil))
	p, err := pool.New("web", []pool.Spec{{Addr: backend.String(), Weight: 100}}, pool.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	b := p.Snapshot().All()[0]
	checker, err := New([]*pool.Pool{p}, Config{Interval: minInterval, Timeout: 5 * time.Second, Rise: 1, Fall: 1, Agent: Agent{Port: agent.port}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); checker.Run(ctx) }()
	defer func() { stop(); <-ended }()

	share := func() string {
		return fmt.Sprintf("up=%v weight=%d max=%d %v", b.Up(), b.Weight(), b.MaxConns(), p.Report(b))
	}
	for _, step := range []struct{ line, want string }{
		{"50% maxconn:7\n", "up=true weight=50 max=7 50% maxconn:7"},
		{"nonsense\n", "up=true weight=50 max=7 50% maxconn:7"},
		{"", "up=true weight=50 max=7 50% maxconn:7"},
		{"down#disk full\n", "up=false weight=100 max=0 ready"},
		{"80%\n", "up=false weight=80 max=0 80%"}, // a share alone does not bring it back
		{"up\n", "up=true weight=100 max=0 ready"},
		{"drain", "up=true weight=100 max=0 drain"},
	} {
		agent.say(step.line)
		before := agent.asked.Load()
		await(t, "two more questions", func() bool { return agent.asked.Load() > before+2 })
		await(t, fmt.Sprintf("%q makes %s", step.line, step.want), func() bool { return share() == step.want })
	}
	text := strings.Join(logged.lines(), "\n")
	for _, want := range []string{"its agent says down: disk full", "nothing to go by", "nonsense"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
}

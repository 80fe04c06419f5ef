package health

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"homing/balancer/netaddr"
	"homing/balancer/pool"
	"homing/bench/testkit"
)

// backendOf starts a server of HTTPS and gives its address and the root of its certificate (example.com).
func backendOf(t *testing.T, status int, http2 bool) (netaddr.Addr, *x509.CertPool) {
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
	return netaddr.MustParse(s.Listener.Addr().String()), roots
}

// speaker starts a server that says text to whoever connects and hangs up, or, with "", says nothing for ever.
func speaker(t *testing.T, text string) netaddr.Addr {
	t.Helper()
	return netaddr.MustParse(testkit.Serve(t, func(c net.Conn) {
		if text == "" {
			testkit.Silence(c)
		}
		_, _ = io.WriteString(c, text) // the check tells
	}))
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
	refuses := netaddr.MustParse(closed.Addr().String())
	_ = closed.Close()

	tlsCheck := Check{Kind: CheckTLS}
	head := Check{Kind: CheckHTTPS, ServerName: "example.com", Method: http.MethodHead, Path: "/health"}
	with := func(k Check, edit func(*Check)) Check { edit(&k); return k }
	for name, c := range map[string]struct {
		check Check
		addr  netaddr.Addr
		want  string // of the error; "": none
	}{
		"TCP, refuses":                    {Check{}, refuses, "connection refused"},
		"TCP, hangs behind its accept":    {Check{}, hangs, ""},
		"TCP, another port":               {Check{Port: good.IP().Port()}, refuses, ""},
		"TLS, well":                       {tlsCheck, good, ""},
		"TLS, expired certificate":        {tlsCheck, netaddr.MustParse(expired.addr), ""},
		"TLS, hangs":                      {tlsCheck, hangs, "TLS handshake: timeout"},
		"TLS, refuses":                    {tlsCheck, refuses, "connection refused"},
		"TLS, not TLS":                    {tlsCheck, plain, "first record does not look like a TLS handshake"},
		"TLS, hangs up":                   {tlsCheck, gone, "TLS handshake: "},
		"TLS, verified":                   {with(tlsCheck, func(k *Check) { k.ServerName, k.Roots = "example.com", roots }), good, ""},
		"TLS, another name":               {with(tlsCheck, func(k *Check) { k.ServerName, k.Roots = "www.test", roots }), good, "TLS handshake: "},
		"TLS, another root":               {with(tlsCheck, func(k *Check) { k.ServerName, k.Roots = "example.com", x509.NewCertPool() }), good, "TLS handshake: "},
		"TLS, protocol spoken":            {with(tlsCheck, func(k *Check) { k.ALPN = []string{"h2"} }), good, ""},
		"TLS, protocol not spoken":        {with(tlsCheck, func(k *Check) { k.ALPN = []string{"mqtt"} }), good, "TLS handshake: "},
		"TLS, no protocol selected":       {with(tlsCheck, func(k *Check) { k.ALPN = []string{"h2"} }), netaddr.MustParse(expired.addr), "none of the protocols h2 is spoken"},
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

// wordsOf is a saying for people.
func wordsOf(s saying) string {
	var words []string
	words = append(words, [...]string{"", "ready", "drain", "maint"}[s.mode], [...]string{"", "up", "down (" + s.why + ")"}[s.state])
	if s.percent >= 0 {
		words = append(words, fmt.Sprintf("%d%%", s.percent))
	}
	if s.maxConns >= 0 {
		words = append(words, fmt.Sprint("maxconn:", s.maxConns))
	}
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}

func TestParseReport(t *testing.T) {
	for line, want := range map[string]string{
		"up":                           "up",
		"ready":                        "ready",
		"75%":                          "75%",
		"75% up":                       "up 75%",
		"up,50%\tmaxconn:30":           "up 50% maxconn:30",
		"drain":                        "drain",
		"maint":                        "maint",
		"stopped":                      "down (stopped)",
		"failed":                       "down (failed)",
		"fail":                         "down (fail)",
		"0%":                           "0%",
		"256%":                         "256%",
		"maxconn:0":                    "maxconn:0",
		"drain up":                     "drain up",
		"up ready 75% maxconn:30":      "ready up 75% maxconn:30",
		"ready down 10%,20% maxconn:1": "ready down (down) 20% maxconn:1", // the last counts
		"up down up":                   "up",
		"down#out of disk, up 50%":     "down (down: out of disk, up 50%)", // words of a reason mean nothing
		"down # out of disk":           "down (down: out of disk)",
		"75% stopped#by friday":        "down (stopped: by friday) 75%",
		"up #all is well":              "up",
		"UP Ready MaxConn:3":           "ready up maxconn:3",
		" ,\t up , ":                   "up",
		"up?":                          "error",
		"up now":                       "up; unknown",
		"300% maxconn:5":               "maxconn:5; unknown",
		"-5%":                          "error",
		"%":                            "error",
		"maxconn:":                     "error",
		"maxconn:-1":                   "error",
		"50% maxconn:many 60%":         "60%; unknown",
		"":                             "error",
		"#why":                         "error",
		"GET / HTTP/1.0":               "error",
		"maxconn:99999999999999999999": "error",
		"99999999999999999999% up":     "up; unknown",
	} {
		s, unknown, err := parseReport(line)
		got := wordsOf(s)
		switch {
		case err != nil:
			got = "error"
		case unknown != nil:
			got += "; unknown"
		}
		if got != want {
			t.Errorf("%q is read as %q, want %q", line, got, want)
		}
	}
}

// TestStand: what a line does not mention stays as it was, as with HAProxy.
func TestStand(t *testing.T) {
	s := newStand(pool.Report{})
	for _, step := range []struct{ line, report, out string }{
		{"75%", "75%", ""},
		{"maxconn:30", "75% maxconn:30", ""},
		{"drain", "drain 75% maxconn:30", ""},
		{"up", "drain 75% maxconn:30", ""}, // only ready ends a drain
		{"ready", "75% maxconn:30", ""},
		{"down#disk", "75% maxconn:30", "down: disk"},
		{"ready", "75% maxconn:30", "down: disk"}, // and only up ends down
		{"0%", "drain maxconn:30", "down: disk"},
		{"maint", "drain maxconn:30", "maint"},
		{"up 50% maxconn:0", "50%", "maint"},
		{"ready", "50%", ""},
		{"drain maint", "50%", "maint"},
		{"ready 100%", "100%", ""},
	} {
		said, unknown, err := parseReport(step.line)
		if err != nil || unknown != nil {
			t.Fatal(step.line, err, unknown)
		}
		s.hear(said)
		if why, out := s.out(); s.report().String() != step.report || why != step.out || out != (step.out != "") {
			t.Errorf("after %q: %q and out of service %q, want %q and %q", step.line, s.report(), why, step.report, step.out)
		}
	}
	for _, r := range []pool.Report{{}, {Drain: true}, {Percent: 50, MaxConns: 7}, {Drain: true, Percent: 50}} {
		if s := newStand(r); s.report() != r {
			t.Errorf("an agent whose word was %q begins with %q", r, s.report())
		}
	}
}

func FuzzParseReport(f *testing.F) {
	for _, line := range []string{"up", "down#why now", "75%,maxconn:3", "drain\t0%", "maint", "ready up x"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		said, unknown, err := parseReport(line)
		if (err != nil) != (wordsOf(said) == "") || err != nil && unknown != nil {
			t.Errorf("%q says %q with errors %v and %v", line, wordsOf(said), unknown, err)
		}
		s := newStand(pool.Report{})
		s.hear(said)
		why, out := s.out()
		if r := s.report(); r.Percent < 0 || r.Percent > pool.MaxPercent || r.MaxConns < 0 || out != (why != "") {
			t.Errorf("%q is read as %+v, out of service %q", line, r, why)
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
	testkit.ServeOn(t, l, func(c net.Conn) {
		line := <-a.line
		a.line <- line
		_, _ = io.WriteString(c, line) // the checker tells
		a.asked.Add(1)
	})
	return a
}

func (a *agentAt) say(line string) {
	<-a.line
	a.line <- line
}

// TestAgentIsHeard: what the agent says happens to the backend; what it cannot mean, or its silence, changes nothing.
func TestAgentIsHeard(t *testing.T) {
	backend, agent := speaker(t, "x"), startAgent(t)
	var logged testkit.Log
	log := logged.Logger()
	p, err := pool.New("web", []pool.Spec{{Addr: backend.String(), Weight: 100}}, pool.Options{Log: log})
	if err != nil {
		t.Fatal(err)
	}
	b := p.Snapshot().All()[0]
	checker, err := New(p, Config{Interval: MinInterval, Timeout: 5 * time.Second, Rise: 1, Fall: 1, Agent: Agent{Port: agent.port}, Log: log})
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
		{"down#disk full\n", "up=false weight=50 max=7 50% maxconn:7"},
		{"80%\n", "up=false weight=80 max=7 80% maxconn:7"}, // a share alone does not bring it back
		{"up maxconn:0\n", "up=true weight=80 max=0 80%"},
		{"down", "up=true weight=80 max=0 80%"}, // of "down\n", or of what else?
		{"0%", "up=true weight=80 max=0 80%"},
		{"drain and more\r", "up=true weight=80 max=0 drain 80%"},
		{"maint\n", "up=false weight=80 max=0 80%"},
		{"ready 100%\n", "up=true weight=100 max=0 100%"},
	} {
		agent.say(step.line)
		before := agent.asked.Load()
		testkit.Eventually(t, "two more questions", func() bool { return agent.asked.Load() > before+2 })
		testkit.Eventually(t, fmt.Sprintf("%q makes %s", step.line, step.want), func() bool { return share() == step.want })
	}
	text := strings.Join(logged.Take(), "\n")
	for _, want := range []string{"its agent says down: disk full", "nothing to go by", "nonsense", "more than is understood", "its agent says maint", "no newline at its end"} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
}

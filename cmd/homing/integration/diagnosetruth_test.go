package integration

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"homing/bench/diagnose"
	"homing/bench/farm"
	"homing/bench/testkit"
)

// site is a place whose make is known: what starts there, and what is true of it.
type site struct {
	what  string
	start func(*testing.T, *farm.Certificate) []string // addresses
	// problem is the code of the only problem, empty: all is well; certainty is how sure it has to be at least.
	problem   string
	certainty diagnose.Certainty
	fixes     []string // goals' beginnings, in order
	notes     []string // codes of notes that must be there
	text      string   // in the finding
	sources   []string
}

// sharedTicketKey is an ssl_session_ticket_key of nginx.
func sharedTicketKey() []byte { return []byte(strings.Repeat("0123456789abcdef", 5)) }

func sites() []site {
	keyed, plain, off := farm.NginxConfig{TicketKey: sharedTicketKey()}, farm.NginxConfig{}, farm.NginxConfig{NoTickets: true}
	behind := func(balance string, list ...farm.NginxConfig) func(*testing.T, *farm.Certificate) []string {
		return func(t *testing.T, cert *farm.Certificate) []string {
			return []string{balancer(t, balance, nginxes(t, cert, list...))}
		}
	}
	const home = "Bring each session"
	return []site{
		{
			what: "one stunnel without tickets", start: func(t *testing.T, cert *farm.Certificate) []string {
				return []string{stunnel(t, cert, "options = NO_TICKET")}
			},
			problem: diagnose.CodeRenewed, certainty: diagnose.Likely, fixes: []string{"Turn tickets on"}, text: "One server stands behind",
		},
		{
			what: "one stunnel with tickets", start: func(t *testing.T, cert *farm.Certificate) []string { return []string{stunnel(t, cert, "")} },
			notes: []string{diagnose.CodeOneSource},
		},
		{
			what: "two that share a key, one with tickets off", start: behind("roundrobin", keyed, keyed, off),
			problem: diagnose.CodeMixed, certainty: diagnose.Certain, fixes: []string{home, "Turn tickets on at every server, and give all"}, text: "under 1 key, 30313233",
		},
		{
			what: "three, one with tickets off", start: behind("roundrobin", plain, plain, off),
			problem: diagnose.CodeMixed, certainty: diagnose.Certain, fixes: []string{home, "Turn tickets on at every server, and give all"}, text: "At least 3 backends", notes: []string{diagnose.CodeStateful},
		},
		{
			what: "three at random", start: behind("random", plain, plain, plain),
			problem: diagnose.CodeApart, certainty: diagnose.Certain, fixes: []string{home, "Give all servers one ticket key"},
		},
		{
			what: "two balancers without a cluster", start: func(t *testing.T, cert *farm.Certificate) []string {
				list := nginxes(t, cert, plain, plain, plain)
				return []string{startHoming(t, list).addr, startHoming(t, list).addr}
			},
			problem: diagnose.CodeBalancers, certainty: diagnose.Certain, fixes: []string{"Let the balancers tell"},
		},
		{
			what: "two balancers without a cluster, one key", start: func(t *testing.T, cert *farm.Certificate) []string {
				list := nginxes(t, cert, keyed, keyed, keyed)
				return []string{startHoming(t, list).addr, startHoming(t, list).addr}
			},
			problem: diagnose.CodeBalancers, certainty: diagnose.Likely, fixes: []string{"Let the balancers tell"},
		},
		{
			what: "homing before three, one with tickets off", start: func(t *testing.T, cert *farm.Certificate) []string {
				return []string{startHoming(t, nginxes(t, cert, keyed, keyed, off)).addr}
			},
			notes: []string{diagnose.CodeStateful},
		},
		{what: "by the client's address", start: behind("source", plain, plain, plain), notes: []string{diagnose.CodeOneSource}},
		{
			// HAProxy's map hash takes the sum of the address's bytes, so that these two differ.
			what: "by the client's address, from two", start: behind("source", plain, plain), sources: []string{"127.0.0.1", "127.0.0.2"},
			problem: diagnose.CodeBySource, certainty: diagnose.Certain, fixes: []string{home},
		},
		{what: "one from two addresses", start: behind("source", plain), sources: []string{"127.0.0.1", "127.0.0.2"}},
		{
			what: "optional client certificates", start: func(t *testing.T, cert *farm.Certificate) []string {
				return nginxes(t, cert, farm.NginxConfig{AskClient: true})
			},
			notes: []string{diagnose.CodeClientCert},
		},
		{
			what: "two Node.js that share a key", start: nodes("", "server.js 1", "server.js 2"),
			problem: diagnose.CodeBound, certainty: diagnose.Likely, fixes: []string{home, "Let servers that share a ticket key"}, text: "sessionIdContext",
		},
		{
			what: "two Node.js that share a key and a command line", start: nodes("", "server.js", "server.js"),
			problem: diagnose.CodeNoCache, certainty: diagnose.Likely, fixes: []string{"Give each server a session cache"},
		},
		{
			what: "two Node.js that share a key, with the remedy", start: nodes("www", "server.js 1", "server.js 2"),
			problem: diagnose.CodeNoCache, certainty: diagnose.Likely, fixes: []string{"Give each server a session cache"},
		},
		{
			what: "one Apache", start: func(t *testing.T, cert *farm.Certificate) []string {
				s, err := apacheStack.startServer(t.Context(), "a", cert)
				testkit.Check(t, err)
				t.Cleanup(func() { _ = s.Stop() })
				return []string{s.Addr()}
			},
			notes: []string{diagnose.CodeOneSource},
		},
	}
}

// What diagnose says of places whose make is known is what they are, how sure it is, and what mends them.
func TestIntegrationDiagnoseTellsTheTruth(t *testing.T) {
	needServers(t)
	cert, err := farm.NewRSA()
	testkit.Check(t, err)
	for _, s := range sites() {
		t.Run(s.what, func(t *testing.T) {
			o := diagnose.Options{Name: farm.ServerName, Roots: farm.Roots(cert)}
			for _, source := range s.sources {
				o.Sources = append(o.Sources, netip.MustParseAddr(source))
			}
			var targets []diagnose.Target
			for _, addr := range s.start(t, cert) {
				target, err := diagnose.ParseTarget(addr)
				testkit.Check(t, err)
				targets = append(targets, target)
			}
			r, err := diagnose.Run(t.Context(), targets, o)
			testkit.Check(t, err)
			s.check(t, r)
		})
	}
}

func (s *site) check(t *testing.T, r *diagnose.Report) {
	t.Helper()
	var problems, notes, goals []string
	for _, f := range r.Findings {
		if !f.Problem {
			notes = append(notes, f.Code)
			continue
		}
		problems = append(problems, f.Code)
		if f.Certainty != diagnose.Certain && f.Certainty != s.certainty || f.Certainty != diagnose.Certain &&
			f.Settle == "" || f.Evidence == "" || !strings.Contains(f.Text, s.text) {
			t.Errorf("%+v", f)
		}
	}
	for _, f := range r.Fixes {
		if !slices.Contains(goals, f.Goal) {
			goals = append(goals, f.Goal)
		}
	}
	var want []string
	if s.problem != "" {
		want = []string{s.problem}
	}
	same := slices.EqualFunc(goals, s.fixes, strings.HasPrefix)
	for _, code := range s.notes {
		same = same && slices.Contains(notes, code)
	}
	if !slices.Equal(problems, want) || !same || r.Lost != (s.problem != "") || r.Incomplete {
		t.Errorf("problems %v, notes %v, goals %q", problems, notes, goals)
	}
	if t.Failed() {
		var b strings.Builder
		_ = r.WriteText(&b) // it is all in memory
		t.Logf("%s", b.String())
	}
}

func nginxes(t *testing.T, cert *farm.Certificate, list ...farm.NginxConfig) []string {
	t.Helper()
	var addrs []string
	for i, cfg := range list {
		cfg.Name, cfg.Certificates = string(rune('a'+i)), []*farm.Certificate{cert}
		n, err := farm.StartNginx(t.Context(), cfg)
		testkit.Check(t, err)
		t.Cleanup(func() { _ = n.Stop() })
		addrs = append(addrs, n.Addr())
	}
	return addrs
}

// program starts a server with files in a directory of its own.
func program(t *testing.T, addr, name string, files map[string]string, args func(dir string) []string) {
	t.Helper()
	dir := t.TempDir()
	for file, content := range files {
		testkit.Check(t, os.WriteFile(filepath.Join(dir, file), []byte(strings.ReplaceAll(content, "DIR", dir)), 0o600))
	}
	testkit.Start(t, addr, name, args(dir)...)
}

// balancer starts HAProxy before servers, with its own way to choose.
func balancer(t *testing.T, balance string, servers []string) string {
	t.Helper()
	addr := testkit.FreeAddr(t)
	conf := "global\n\tnbthread 1\ndefaults\n\tmode tcp\n\ttimeout connect 5s\n\ttimeout client 30s\n\ttimeout server 30s\nlisten farm\n\tbind " + addr + "\n\tbalance " + balance + "\n"
	for i, s := range servers {
		conf += fmt.Sprintf("\tserver b%d %s\n", i, s)
	}
	program(t, addr, "/usr/sbin/haproxy", map[string]string{"haproxy.cfg": conf},
		func(dir string) []string { return []string{"-db", "-f", dir + "/haproxy.cfg"} })
	return addr
}

// stunnel starts one before a server that answers.
func stunnel(t *testing.T, cert *farm.Certificate, option string) string {
	t.Helper()
	addr, behind := testkit.FreeAddr(t), nginxes(t, cert, farm.NginxConfig{})[0]
	program(t, addr, "/usr/bin/stunnel4", map[string]string{
		"both.pem":     string(cert.Chain) + string(cert.Key),
		"stunnel.conf": "foreground = yes\ndebug = err\npid =\n[farm]\naccept = " + addr + "\nconnect = " + behind + "\ncert = DIR/both.pem\n" + option + "\n",
	}, func(dir string) []string { return []string{dir + "/stunnel.conf"} })
	return addr
}

const nodeServer = `const https = require('https'), fs = require('fs');
const file = name => fs.readFileSync(process.env.FARM + '/' + name);
https.createServer({ key: file('key.pem'), cert: file('chain.pem'), ticketKeys: file('ticket.key'),
  ...(process.env.FARM_CONTEXT && { sessionIdContext: process.env.FARM_CONTEXT }) }, (q, r) => r.end('node'))
  .listen(process.env.FARM_PORT, '127.0.0.1');
`

// nodes starts Node.js with the same ticket keys behind round robin, one for each command line; context is their
// sessionIdContext, empty: their own.
func nodes(context string, lines ...string) func(*testing.T, *farm.Certificate) []string {
	return func(t *testing.T, cert *farm.Certificate) []string {
		dir := t.TempDir()
		for name, content := range map[string][]byte{
			"server.js": []byte(nodeServer), "chain.pem": cert.Chain, "key.pem": cert.Key, "ticket.key": sharedTicketKey()[:48],
		} {
			testkit.Check(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
		}
		var servers []string
		for _, line := range lines {
			addr := testkit.FreeAddr(t)
			_, port, _ := strings.Cut(addr, ":")
			args := []string{"FARM=" + dir, "FARM_PORT=" + port, "FARM_CONTEXT=" + context, "/usr/bin/nodejs"}
			for i, word := range strings.Fields(line) {
				if i == 0 {
					word = filepath.Join(dir, word)
				}
				args = append(args, word)
			}
			testkit.Start(t, addr, "/usr/bin/env", args...)
			servers = append(servers, addr)
		}
		return []string{balancer(t, "roundrobin", servers)}
	}
}

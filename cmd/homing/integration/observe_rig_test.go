package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
)

// The site that is observed: the balancer, three servers and the clients, each with a network of their own. The clients have
// 4,000 addresses.
const (
	siteBridge    = "obs"
	siteNetwork   = "198.18.76."
	siteBalancer  = "2"
	siteClients   = "9"
	siteAddr      = siteNetwork + siteBalancer + ":443"
	siteClientNet = "198.18.96.0/20"
	siteHosts     = 4000
)

// observedSite is three nginx that share nothing, before which a balancer comes.
type observedSite struct {
	servers           []*farm.Nginx
	cert              *farm.Certificate
	balancer, clients testkit.Room
	noTickets         bool // who would offer a ticket offers a session ID
}

func newObservedSite(t *testing.T, cfg farm.NginxConfig) *observedSite {
	t.Helper()
	needServers(t)
	testkit.Need(t, "tcpdump", "haproxy", "nginx")
	ends := []string{siteBalancer, siteClients, "11", "12", "13"}
	rooms := testkit.NewRooms(t, siteBridge, siteNetwork, ends...)
	s := &observedSite{balancer: rooms[0], clients: rooms[1], cert: newECDSA(t), noTickets: cfg.NoTickets}
	s.clients.IP(t, "route", "add", "local", siteClientNet, "dev", "lo")
	s.balancer.IP(t, "route", "add", siteClientNet, "via", siteNetwork+siteClients)
	cfg.LogPort, cfg.Certificates = true, []*farm.Certificate{s.cert}
	for i, room := range rooms[2:] {
		one := cfg
		one.Name, one.Room, one.Addr = string(rune('a'+i)), string(room), siteNetwork+ends[2+i]+":443"
		server, err := farm.StartNginx(t.Context(), one)
		testkit.Check(t, err)
		stops(t, server)
		s.servers = append(s.servers, server)
	}
	return s
}

// roundRobin puts HAProxy before the servers, each with the given words behind its address.
func (s *observedSite) roundRobin(t *testing.T, words ...string) *farm.Process {
	t.Helper()
	conf := "global\n\tnbthread 1\ndefaults\n\tmode tcp\n\ttimeout connect 5s\n\ttimeout client 30s\n\ttimeout server 30s\n" +
		"listen farm\n\tbind " + siteAddr + "\n\tbalance roundrobin\n"
	for _, n := range s.servers {
		conf += fmt.Sprintf("\tserver %s %s %s\n", n.Name(), n.Addr(), strings.Join(words, " "))
	}
	file := filepath.Join(t.TempDir(), "haproxy.cfg")
	testkit.Check(t, os.WriteFile(file, []byte(conf), 0o600))
	return s.balancer.Start(t, siteAddr, "/usr/sbin/haproxy", "-db", "-f", file)
}

// forget has the servers forget all sessions, and empties their logs.
func (s *observedSite) forget(t *testing.T) {
	t.Helper()
	for _, n := range s.servers {
		n.Kill()
		testkit.Check(t, os.Remove(n.LogPath()))
		testkit.Check(t, n.Restart(t.Context()))
	}
}

// homing puts homing before them.
func (s *observedSite) homing(t *testing.T, flags ...string) *farm.Process {
	t.Helper()
	args := []string{"run", "--listen", siteAddr, "--loops", "1", "--log-level", "warn"}
	for _, n := range s.servers {
		args = append(args, "--backend", n.Addr())
	}
	return s.balancer.Start(t, siteAddr, binary, append(args, flags...)...)
}

// within runs f on a thread that is in the clients' room: sockets and programs that it makes itself are there.
func (s *observedSite) within(t *testing.T, f func()) {
	t.Helper()
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	testkit.Check(t, err)
	defer own.Close()
	room, err := os.Open("/run/netns/" + string(s.clients))
	testkit.Check(t, err)
	defer room.Close()
	testkit.Check(t, unix.Setns(int(room.Fd()), unix.CLONE_NEWNET))
	defer func() {
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread() // else the thread ends with the test
		}
	}()
	f()
}

// The filters of a mirror port before the balancer, of one behind it, and of one that has both.
const (
	mirrorFront = "tcp and (net " + siteClientNet + " or host " + siteNetwork + siteClients + ")"
	mirrorBack  = "tcp and not (net " + siteClientNet + " or host " + siteNetwork + siteClients + ")"
	mirrorBoth  = "tcp"
)

// recorderCounts is what tcpdump tells on SIGUSR1.
var recorderCounts = regexp.MustCompile(`([0-9]+) packets captured, ([0-9]+) packets received by filter`)

// mirror is tcpdump at the balancer's interface.
type mirror struct {
	file string
	proc *farm.Process
}

// record starts to record to a file of its own.
func (s *observedSite) record(t *testing.T, name, filter string) *mirror {
	t.Helper()
	m := &mirror{file: filepath.Join(t.TempDir(), name)}
	// Root's files stay root's; a buffer of 32 MB, so that a busy machine loses nothing.
	m.proc = s.balancer.Start(t, "", "tcpdump", "-Z", "root", "-i", "eth0", "-n", "-U", "-B", "32768", "-w", m.file, filter)
	testkit.Eventually(t, "tcpdump listens", func() bool { return strings.Contains(m.proc.Output(), "listening on") })
	return m
}

// end returns the file when all that has passed is in it.
func (m *mirror) end(t *testing.T) string {
	t.Helper()
	testkit.Eventually(t, "tcpdump has read all", func() bool {
		testkit.Check(t, m.proc.Signal(unix.SIGUSR1)) // it tells its counts
		time.Sleep(100 * time.Millisecond)
		all := recorderCounts.FindAllStringSubmatch(m.proc.Output(), -1)
		return len(all) > 1 && slices.Equal(all[len(all)-1], all[len(all)-2]) && all[len(all)-1][1] == all[len(all)-1][2]
	})
	m.proc.Stop()
	if out := m.proc.Output(); !strings.Contains(out, "\n0 packets dropped by kernel") {
		t.Fatalf("the recorder has not all: %s", out)
	}
	return m.file
}

// Kinds of offers, as they look on the wire.
const (
	offersNothing = "none"
	offersID      = "id"
	offersTicket  = "ticket"
	offersPSK     = "psk"
)

// handshake is one of a server, as the client that made it and the server's log say.
type handshake struct {
	Server  netip.AddrPort
	Port    uint16 // of the balancer
	Version string // nginx's word
	Offer   string
	Resumed bool

	session bool // the client had a session
}

// place is where a handshake was: a server, and the balancer's port.
type place struct {
	server netip.AddrPort
	port   uint16
}

// caller makes conns one by one.
type caller struct {
	what  string
	offer string // what it offers when it has a session
	fresh string // and when it has none
	user
}

// itinerary is what clients do; it is the same for every balancer, as far as that lets them.
type itinerary struct {
	site    *observedSite
	random  *rand.Rand
	callers []caller
	met     [][]handshake // by server, in order
}

func newItinerary(t *testing.T, s *observedSite, each int) *itinerary {
	t.Helper()
	p := &itinerary{site: s, random: rand.New(rand.NewPCG(17, 41)), met: make([][]handshake, len(s.servers))}
	add := func(n int, what, fresh, offer string, newUser func() user) {
		for range n {
			p.callers = append(p.callers, caller{what, offer, fresh, newUser()})
		}
	}
	config := func(version uint16) tlsclient.Config {
		cfg := clientConfig(s.cert, version)
		cfg.Source = p.source
		return cfg
	}
	openSSL := func(flags ...string) func() user {
		newUser := newOpenSSL(t, s.cert, flags...)
		return func() user {
			u := newUser().(*openssl)
			u.source = p.source
			return u
		}
	}
	add(each, "IDs alone", offersNothing, offersID, func() user { return tlsclient.NewID(config(0)) })
	for _, v := range []struct {
		version uint16
		offer   string
		fresh   string // of crypto/tls
	}{{tls.VersionTLS12, offersTicket, offersID}, {tls.VersionTLS13, offersPSK, offersNothing}} {
		add(each, "own "+v.offer, offersNothing, v.offer, func() user { return tlsclient.New(config(v.version)) })
		add(each, "Go "+v.offer, v.fresh, v.offer, func() user { return newGoClient(config(v.version)) })
		add(each, "never offers", offersNothing, offersNothing, func() user { return &forgetful{config(v.version)} })
	}
	add(1, "OpenSSL ID", offersNothing, offersID, openSSL("-tls1_2", "-no_ticket"))
	add(1, "OpenSSL ticket", offersNothing, offersTicket, openSSL("-tls1_2"))
	add(1, "OpenSSL PSK", offersNothing, offersPSK, openSSL("-tls1_3"))
	add(1, "OpenSSL as it is", offersNothing, offersPSK, openSSL())
	return p
}

// source is an address of the clients.
func (p *itinerary) source() *net.TCPAddr {
	n := p.random.IntN(siteHosts)
	return &net.TCPAddr{IP: net.IPv4(198, 18, byte(96+n>>8), byte(n))}
}

// note takes what a client says of a conn of the kind.
func (p *itinerary) note(t *testing.T, what, offer string, r *tlsclient.Result) {
	t.Helper()
	i := slices.IndexFunc(p.site.servers, func(n *farm.Nginx) bool { return n.Name() == r.Backend })
	if i < 0 {
		t.Fatalf("%s: an answer of %q", what, r.Backend)
	}
	if offer == offersTicket && p.site.noTickets {
		offer = offersID
	}
	p.met[i] = append(p.met[i], handshake{Offer: offer, Resumed: r.Resumed, session: r.Offered})
}

// run lets callers drawn at random connect n times, one after another, and curl as often as it is said.
func (p *itinerary) run(t *testing.T, n int) {
	t.Helper()
	p.site.within(t, func() {
		for range n {
			v := &p.callers[p.random.IntN(len(p.callers))]
			r, err := v.Get(t.Context(), siteAddr)
			if err != nil {
				t.Fatalf("%s: %v", v.what, err)
			}
			offer := v.fresh
			if r.Offered {
				offer = v.offer
			}
			p.note(t, v.what, offer, &r)
		}
	})
}

// curl lets a process of curl connect n times.
func (p *itinerary) curl(t *testing.T, n int, fresh, offer string, flags ...string) {
	t.Helper()
	p.site.within(t, func() {
		for i, r := range curlFrom(t, p.site.cert, p.source, siteAddr, n, flags...) {
			p.note(t, "curl", map[bool]string{false: fresh, true: offer}[i > 0], &r)
		}
	})
}

// gnutls lets a process of gnutls-cli connect n times: it resumes when it is told to.
func (p *itinerary) gnutls(t *testing.T, n int, offer, priority string) {
	t.Helper()
	host, port, err := net.SplitHostPort(siteAddr)
	testkit.Check(t, err)
	p.site.within(t, func() {
		cmd := exec.CommandContext(t.Context(), "gnutls-cli", "--inline-commands", "--insecure", "--sni-hostname", farm.ServerName,
			"--priority", priority, "--port", port, host)
		in, err := cmd.StdinPipe()
		testkit.Check(t, err)
		var out testkit.Log
		cmd.Stdout, cmd.Stderr = &out, &out
		testkit.Check(t, cmd.Start())
		for i := range n {
			if i > 0 {
				fmt.Fprintln(in, "^resume^")
			}
			fmt.Fprint(in, "GET / HTTP/1.1\r\nHost: "+farm.ServerName+"\r\n\r\n")
			testkit.Eventually(t, "gnutls-cli has an answer", func() bool { return len(answerLine.FindAllString(out.String(), -1)) == i+1 })
		}
		testkit.Check(t, in.Close())
		if err := cmd.Wait(); err != nil {
			t.Fatalf("gnutls-cli: %v: %s", err, out.String())
		}
		for i, m := range answerLine.FindAllStringSubmatch(out.String(), -1) {
			r := tlsclient.Result{Backend: m[1], Offered: i > 0, Resumed: m[2] == "r"}
			p.note(t, "gnutls-cli", map[bool]string{false: offersNothing, true: offer}[r.Offered], &r)
		}
	})
}

// truth is what happened: what the clients offered, and the servers' logs of it.
func (p *itinerary) truth(t *testing.T) []handshake {
	t.Helper()
	var all []handshake
	for i, n := range p.site.servers {
		testkit.Eventually(t, "nginx has logged all", func() bool { return len(logLines(t, n)) == len(p.met[i]) })
		for k, line := range logLines(t, n) {
			h := p.met[i][k]
			h.session = false // no log tells it
			h.Server, h.Version = addrPort(n), line[1]
			port, err := strconv.ParseUint(line[5], 10, 16)
			testkit.Check(t, err)
			h.Port = uint16(port)
			if logged := line[0] == "r"; logged != h.Resumed || line[3] != "200" {
				t.Fatalf("nginx says %v, the client %+v", line, h)
			}
			all = append(all, h)
		}
	}
	return all
}

func addrPort(n *farm.Nginx) netip.AddrPort { return netip.MustParseAddrPort(n.Addr()) }

// logLines is the access log of a server, by words.
func logLines(t *testing.T, n *farm.Nginx) (lines [][]string) {
	t.Helper()
	text, err := os.ReadFile(n.LogPath())
	testkit.Check(t, err)
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.Fields(line))
	}
	return lines
}

// forgetful never offers.
type forgetful struct{ cfg tlsclient.Config }

func (f *forgetful) Get(ctx context.Context, addr string) (tlsclient.Result, error) {
	return tlsclient.New(f.cfg).Get(ctx, addr)
}

// kindOf is a class of handshakes of which both sides count the same.
type kindOf struct {
	Server  string
	Version string
	Offer   string
	Resumed bool
}

// counted counts handshakes by their class.
func counted(list []handshake) map[kindOf]int {
	counts := map[kindOf]int{}
	for _, h := range list {
		counts[kindOf{h.Server.String(), h.Version, h.Offer, h.Resumed}]++
	}
	return counts
}

// diffCounts is what differs between counts.
func diffCounts(want, got map[kindOf]int) string { return cmp.Diff(want, got) }

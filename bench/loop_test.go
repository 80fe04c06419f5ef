package bench

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"homing/bench/testkit"
)

// A loop that comes late to the end of its stretch still begins all that should have begun in it: whatever made it late may
// be what is measured.
func TestLoopBeginsWhatIsOverdue(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := Plan{Targets: []string{l.Addr().String()}, Groups: []GroupPlan{{Kind: PSK}}, Clients: 5, Loops: 1}
	if err := p.Check(); err != nil {
		t.Fatal(err)
	}
	r := run{shared: shared{
		plan: &p, base: time.Now().Add(-time.Minute), // the stretch is long over
		targets: []netip.AddrPort{netip.MustParseAddrPort(l.Addr().String())}, names: []string{siteName},
	}}
	r.newGroups(nil)
	if err := r.makeLoops(); err != nil {
		t.Fatal(err)
	}
	loop := r.loops[0]
	defer func() { _ = loop.poller.Close() }()
	r.record(0, 0, true)
	r.pace(0, time.Second, 200)
	if err := loop.run(time.Second, false); err != nil {
		t.Fatal(err)
	}
	if n := loop.rec.groups[0].Attempts; n != 200 || loop.active != 5 {
		t.Errorf("%d conns should have begun, %d are open", n, loop.active)
	}
	// The clients have one each, and the others are lost.
	loop.endStretch()
	if lost := loop.abandon(); lost != 200 || loop.rec.groups[0].Errors[Lost] != 200 || loop.active != 0 {
		t.Errorf("%d lost, %+v", lost, loop.rec.groups[0].Tally)
	}
}

// A server that does not close behind its last answer is left, in an orderly way.
func TestRunLeavesAServerThatDoesNotClose(t *testing.T) {
	cert, roots := newCertificate(t)
	ends := make(chan error, 1000)
	addr := testkit.ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{cert}}, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		if _, err := http.ReadRequest(in); err != nil {
			return
		}
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		_, err := io.Copy(io.Discard, in)
		ends <- err
	})
	s := site{addr: addr, roots: roots}
	p := s.plan(GroupPlan{Kind: PSK})
	p.Clients, p.Rate = 20, 40
	start := time.Now()
	res := mustRun(t, p)
	g := &res.Groups[0]
	if g.Failed() != 0 || g.Done == 0 || g.Latency.Answer.Quantile(0) >= endWait { // of the fastest: a busy machine slows some
		t.Errorf("%+v", g.Tally)
	}
	if took := time.Since(start); took > p.WarmUp+p.Duration+p.Timeout {
		t.Errorf("the run took %v", took)
	}
	for range g.Total.Done {
		if err := <-ends; err != nil {
			t.Errorf("the server saw %v", err)
		}
	}
}

package integration

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"homing/bench/testkit"
)

// pressed is one homing that is brought to a limit, before backends of this process.
type pressed struct {
	*testing.T
	h     *homing
	start files
	held  []net.Conn
}

// press starts homing with a limit, before a backend that answers everything.
func press(t *testing.T, backendOptions string, flags ...string) *pressed {
	t.Helper()
	ln := testkit.Listen(t, "tcp", "127.0.0.1:0")
	go answerAll(ln)
	flags = append(flags, "--loops", "2", "--table-entries", "4096", "--client-entries", "4096", "--probe", "off")
	p := &pressed{T: t, h: startHoming(t, []string{ln.Addr().String() + backendOptions}, flags...)}
	p.serves(20)
	p.start = p.h.files(t)
	t.Cleanup(func() {
		for _, c := range p.held {
			c.Close()
		}
	})
	return p
}

// dialerFrom connects from an address of 127.0.0.0/8; "": any.
func dialerFrom(from string) *net.Dialer {
	d := &net.Dialer{Timeout: idlePatience}
	if from != "" {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
	}
	return d
}

// dial connects from an address.
func (p *pressed) dial(from string) net.Conn {
	p.Helper()
	c, err := dialerFrom(from).DialContext(p.Context(), "tcp", p.h.addr)
	testkit.Check(p, err)
	p.held = append(p.held, c)
	return c
}

// holds opens a conn that is served, and leaves it open.
func (p *pressed) holds(from string) net.Conn {
	p.Helper()
	c := p.dial(from)
	if err := roundTrip(c, plainHello()); err != nil {
		p.Fatalf("a conn below the limit: %v", err)
	}
	return c
}

// asks opens a conn and sends its hello.
func (p *pressed) asks(from string) net.Conn {
	p.Helper()
	c := p.dial(from)
	if _, err := c.Write(plainHello()); err != nil {
		p.Fatal(err)
	}
	return c
}

// refuses opens a conn and checks that it is reset, which a client may see at any of its steps.
func (p *pressed) refuses(from string) {
	p.Helper()
	c, err := dialerFrom(from).DialContext(p.Context(), "tcp", p.h.addr)
	if err == nil {
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(idlePatience)) // an open socket takes any
		if _, err = c.Write(plainHello()); err == nil {
			_, err = c.Read(make([]byte, 1))
		}
	}
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		p.Errorf("beyond the limit: %v, want a reset", err)
	}
}

// answered checks that a conn that has asked gets its answer.
func (p *pressed) answered(c net.Conn) {
	p.Helper()
	_ = c.SetReadDeadline(time.Now().Add(idlePatience)) // an open socket takes any
	if _, err := io.ReadFull(c, make([]byte, len(answerRecord))); err != nil {
		p.Errorf("a conn that was to wait: %v", err)
	}
}

// reset checks that a conn is reset.
func (p *pressed) reset(c net.Conn) {
	p.Helper()
	_ = c.SetReadDeadline(time.Now().Add(idlePatience)) // as above
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		p.Errorf("beyond the limit: %v, want a reset", err)
	}
}

// counts waits until a metric has a value.
func (p *pressed) counts(metric string, want float64) {
	p.Helper()
	var got float64
	if !testkit.Wait(idlePatience, func() bool { got = p.h.metrics(p.T)[metric]; return got == want }) {
		p.Errorf("%s is %v, want %v", metric, got, want)
	}
}

// release ends what is held, and checks that homing is as it was: nothing is left, and everybody is served.
func (p *pressed) release() {
	p.Helper()
	for _, c := range p.held {
		c.Close()
	}
	p.held = nil
	p.h.recovers(p.T, p.start, 2, idlePatience)
	p.serves(100)
}

// serves makes n conns of one round trip, four at a time, all of which have to come about.
func (p *pressed) serves(n int) {
	p.Helper()
	if failed := p.load(n, ""); failed > 0 {
		p.Errorf("%d of %d conns failed without pressure", failed, n)
	}
}

// load makes n conns and says how many have failed.
func (p *pressed) load(n int, from string) int {
	var group sync.WaitGroup
	var mu sync.Mutex
	failed := 0
	d := dialerFrom(from)
	for range 4 {
		group.Go(func() {
			for range n / 4 {
				c, err := d.DialContext(p.Context(), "tcp", p.h.addr)
				if err == nil {
					err = roundTrip(c, plainHello())
					c.Close()
				}
				if err != nil {
					mu.Lock()
					failed++
					mu.Unlock()
				}
			}
		})
	}
	group.Wait()
	return failed
}

// under keeps load on homing until the function that it returns is called, which says how many conns there were and how many
// of them failed.
func (p *pressed) under() (stop func() (all, failed int)) {
	ctx, cancel := context.WithCancel(p.Context())
	var all, failed int
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			// Each four from an address of their own: what they have closed may still be open at homing, and count.
			failed += p.load(4, fmt.Sprintf("127.0.1.%d", 1+all/4%200))
			all += 4
		}
	}()
	return func() (int, int) {
		cancel()
		<-done
		return all, failed
	}
}

// TestIntegrationLimits reaches every limit on purpose: what is beyond it gets the answer that was promised, it is counted,
// and when the pressure goes all is as before.
func TestIntegrationLimits(t *testing.T) {
	needServers(t)
	const refused = `homing_listener_refused_total{listener=%q,reason=%q}`
	for name, run := range map[string]func(t *testing.T){
		"conns of the node": func(t *testing.T) { // further ones wait in the kernel's queue
			p := press(t, "", "--max-conns", "20", "--max-pre-hello", "20")
			for range 20 {
				p.holds("")
			}
			waits := []net.Conn{p.asks(""), p.asks(""), p.asks(""), p.asks("")}
			if open := p.h.metrics(t)["homing_conns_open"]; open > 21 { // each loop looks before it takes
				t.Errorf("%v conns open", open)
			}
			p.h.tells(t, "", p.h.addr, "max_conns", 1)
			for i := range 10 {
				p.held[i].Close()
			}
			for _, c := range waits {
				p.answered(c)
			}
			p.release()
		},
		"conns of a listener": func(t *testing.T) {
			p := press(t, "", "--listener-conns", "10")
			for range 10 {
				p.holds("")
			}
			waits := []net.Conn{p.asks(""), p.asks(""), p.asks("")}
			if open := p.h.metrics(t)["homing_conns_open"]; open > 11 {
				t.Errorf("%v conns open", open)
			}
			p.h.tells(t, "", p.h.addr, "listener_conns", 1)
			for i := range 5 {
				p.held[i].Close()
			}
			for _, c := range waits {
				p.answered(c)
			}
			p.release()
		},
		"conns of a backend": func(t *testing.T) { // further ones wait in the queue, as many as may
			p := press(t, ",max-conns=10", "--queue", "5", "--queue-timeout", "20s", "--connect-timeout", "1s")
			for range 10 {
				p.holds("")
			}
			var waits []net.Conn
			for range 5 {
				waits = append(waits, p.asks(""))
			}
			p.counts(`homing_pool_queue_conns{pool="default"}`, 5)
			for range 20 {
				p.refuses("")
			}
			p.counts(`homing_pool_queue_full_total{pool="default"}`, 20)
			p.counts(`homing_terminations_total{code="RQ"}`, 20)
			p.h.tells(t, "default", "", "queue_full", 20)
			time.Sleep(1100 * time.Millisecond) // connect-timeout does not run in the queue
			for i := range 10 {
				p.held[i].Close()
			}
			for _, c := range waits {
				p.answered(c)
			}
			p.counts(`homing_pool_queue_timeouts_total{pool="default"}`, 0)
			if m := p.h.metrics(t); m[`homing_pool_queue_seconds_total{pool="default"}`] < 5 {
				t.Errorf("%v seconds of waiting", m[`homing_pool_queue_seconds_total{pool="default"}`])
			}
			p.release()
		},
		"time in the queue": func(t *testing.T) {
			p := press(t, ",max-conns=3", "--queue-timeout", "300ms")
			for range 3 {
				p.holds("")
			}
			waits := []net.Conn{p.asks(""), p.asks("")}
			for _, c := range waits {
				p.reset(c)
			}
			p.counts(`homing_pool_queue_timeouts_total{pool="default"}`, 2)
			p.counts(`homing_terminations_total{code="sQ"}`, 2)
			p.h.tells(t, "default", "", "queue_timeout", 2)
			p.release()
		},
		"conns of a client": func(t *testing.T) {
			p := press(t, "", "--client-conns", "10")
			for range 10 {
				p.holds("127.0.0.9")
			}
			stop := p.under() // of others
			for range 20 {
				p.refuses("127.0.0.9")
			}
			if all, failed := stop(); failed > 0 || all == 0 {
				t.Errorf("%d of %d conns of others failed", failed, all)
			}
			p.counts(fmt.Sprintf(refused, p.h.addr, "source_conns"), 20)
			p.h.tells(t, "", p.h.addr, "source_conns", 20)
			p.release()
			p.holds("127.0.0.9")
		},
		"new conns of a client": func(t *testing.T) {
			p := press(t, "", "--client-rate", "0.042", "--client-burst", "24")
			if failed := p.load(24, "127.0.0.9"); failed > 0 {
				t.Errorf("%d of a burst failed", failed)
			}
			for range 20 {
				p.refuses("127.0.0.9")
			}
			if failed := p.load(24, "127.0.0.10"); failed > 0 {
				t.Errorf("%d conns of another client failed", failed)
			}
			p.counts(fmt.Sprintf(refused, p.h.addr, "source_rate"), 20)
			p.h.tells(t, "", p.h.addr, "source_rate", 20)
		},
		"networks": func(t *testing.T) {
			p := press(t, "", "--deny", "127.0.0.8/30")
			stop := p.under()
			for range 20 {
				p.refuses("127.0.0.9")
			}
			if all, failed := stop(); failed > 0 || all == 0 {
				t.Errorf("%d of %d conns of others failed", failed, all)
			}
			p.counts(fmt.Sprintf(refused, p.h.addr, "denied"), 20)
			p.release()
		},
		"conns without a hello": func(t *testing.T) { // the oldest go
			p := press(t, "", "--max-pre-hello", "50")
			for range 5 {
				p.holds("")
			}
			stop := p.under()
			var silent []net.Conn
			for range 500 {
				silent = append(silent, p.dial(""))
			}
			if !testkit.Wait(idlePatience, func() bool {
				m := p.h.metrics(t)
				return m["homing_pre_hello_conns"] <= 60 && m[fmt.Sprintf(refused, p.h.addr, "pre_hello")] >= 400
			}) {
				t.Errorf("%v without a hello", p.h.metrics(t)["homing_pre_hello_conns"])
			}
			for _, c := range silent[:300] {
				p.reset(c)
			}
			p.h.tells(t, "", p.h.addr, "pre_hello", 400)
			all, failed := stop() // a hello may be as late as an attack is fast
			t.Logf("%d of %d good conns failed during the rush", failed, all)
			p.serves(100) // there are as many silent ones as may be
			for _, c := range p.held[:5] {
				if err := roundTrip(c, []byte("still there")); err != nil {
					t.Errorf("an established conn: %v", err)
				}
			}
			p.release()
		},
		"memory of conns without a hello": limitedMemory,
		"memory of fresh conns":           limitedFresh,
	} {
		t.Run(name, run)
	}
}

// leastLimit is a memory limit that leaves next to nothing for conns, in bytes.
const leastLimit = 66 << 20

// peaks checks that homing has kept to the limit.
func (p *pressed) peaks(limit int64) {
	p.Helper()
	if _, peak := p.h.memory(p.T); peak > limit {
		p.Errorf("homing has come to %s, %s are allowed", mebi(peak), mebi(limit))
	}
}

// limitedMemory fills the memory for conns with conns that say nothing: the oldest of them go, and nobody else.
func limitedMemory(t *testing.T) {
	p := press(t, "", "--memory-limit", fmt.Sprint(leastLimit), "--max-conns", "5000", "--max-pre-hello", "4000")
	for range 5 {
		p.holds("")
	}
	refused := fmt.Sprintf(`homing_listener_refused_total{listener=%q,reason="pre_hello"}`, p.h.addr)
	for i := 0; i%100 != 0 || p.h.metrics(t)[refused] == 0; i++ {
		if i == 4000 {
			t.Fatalf("%d conns without a hello, and nobody gave way: %v bytes", i, p.h.metrics(t)["homing_conn_bytes"])
		}
		p.dial("")
	}
	for _, c := range p.held[:5] {
		if err := roundTrip(c, []byte("still there")); err != nil {
			t.Errorf("an established conn: %v", err)
		}
	}
	p.serves(20)
	p.h.tells(t, "", p.h.addr, "pre_hello", 1)
	p.peaks(leastLimit)
	p.release()
}

// limitedFresh fills it with handshakes that a backend does not answer: fresh ones are refused then.
func limitedFresh(t *testing.T) {
	mute := testkit.Listen(t, "tcp", "127.0.0.1:0")
	p := &pressed{T: t, h: startHoming(t, []string{mute.Addr().String()}, "--memory-limit", fmt.Sprint(leastLimit), "--max-conns", "5000",
		"--loops", "2", "--table-entries", "4096", "--client-entries", "4096", "--probe", "off", "--no-checks")}
	p.start = p.h.files(t)
	go testkit.Accept(mute, testkit.Silence)
	refused := fmt.Sprintf(`homing_listener_refused_total{listener=%q,reason="memory"}`, p.h.addr)
	for i := 0; i%100 != 0 || p.h.metrics(t)[refused] == 0; i++ {
		if i == 4000 {
			t.Fatalf("%d handshakes, and none was refused: %v bytes", i, p.h.metrics(t)["homing_conn_bytes"])
		}
		c, err := dialerFrom("").DialContext(t.Context(), "tcp", p.h.addr)
		testkit.Check(t, err)
		p.held = append(p.held, c)
		_, _ = c.Write(plainHello()) // it may be refused by then
	}
	for range 10 {
		p.refuses("")
	}
	p.h.tells(t, "", p.h.addr, "memory", 1)
	p.peaks(leastLimit)
	for _, c := range p.held {
		c.Close()
	}
	p.held = nil
	p.h.recovers(t, p.start, 2, idlePatience)
	c := p.asks("")
	p.counts("homing_conns_open", 1)
	c.Close()
}

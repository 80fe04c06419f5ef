package integration

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// callers is how many conns of the byte test are open at once.
const callers = 200

// Bytes of random conns through homing, in both directions at once, between two ends that chunk, pause, half-close and
// reset at random: each end gets exactly what the other has sent, or, after a reset, a prefix of it; a FIN arrives as
// FIN and a RST as RST; nothing is left over.
//
// HOMING_SEED repeats the conns of another run.
func TestIntegrationExact(t *testing.T) {
	needServers(t)
	conns := 500
	if soak() {
		conns = 5000
	}
	for _, tt := range []struct {
		loops int
		tls   string
		conns int
	}{
		{1, "auto", conns},
		{2, "auto", conns},
		{2, "off", conns / 5},
	} {
		t.Run(fmt.Sprintf("loops=%d,tls=%s", tt.loops, tt.tls), func(t *testing.T) {
			exact(t, tt.conns, tt.loops, "--tls", tt.tls)
		})
	}
}

func exact(t *testing.T, conns, loops int, flags ...string) {
	seed := rand.Uint64()
	if text := os.Getenv("HOMING_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("HOMING_SEED=%d", seed)
	x := newExchanges(t, rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}))
	plans := make([]*plan, conns)
	for i := range plans {
		plans[i] = x.plan(seed, uint64(i))
	}
	server := newByteServer(t, plans)
	h := startHoming(t, []string{server.listener.Addr().String()}, append(flags, "--probe", "off", "--loops", strconv.Itoa(loops))...)
	h.metrics(t)
	start := h.files(t)

	began := time.Now()
	outcomes := make([]*outcome, conns)
	stop, buffers := make(chan struct{}), 0.0
	var watching, calling sync.WaitGroup
	watching.Go(func() {
		for tick := time.NewTicker(20 * time.Millisecond); ; {
			buffers = max(buffers, h.metrics(t)["homing_buffer_bytes"])
			select {
			case <-tick.C:
			case <-stop:
				return
			}
		}
	})
	next := make(chan int)
	for range callers {
		calling.Go(func() {
			for i := range next {
				o, err := call(t.Context(), h.addr, plans[i])
				if err != nil {
					t.Errorf("conn %d: %v", i, err)
				}
				outcomes[i] = o
			}
		})
	}
	for i := range plans {
		next <- i
	}
	close(next)
	calling.Wait()
	close(stop)
	watching.Wait()
	took := time.Since(began)

	h.recovers(t, start, loops, 5*time.Second)
	m := h.metrics(t)
	server.wait()
	sum := judge(t, plans, outcomes, server)
	now, peak := h.memory(t)
	t.Logf("%d conns in %v: %v", conns, took.Round(time.Millisecond), &sum)
	t.Logf("homing: %.0f MB in, %.0f MB out, %.0f MB of them spliced, at most %.0f kB in buffers, RSS %s, at most %s; hellos %v tls, %v opaque, %v invalid",
		m[`homing_relayed_bytes_total{direction="in"}`]/1e6, m[`homing_relayed_bytes_total{direction="out"}`]/1e6, m["homing_spliced_bytes_total"]/1e6,
		buffers/1e3, mebi(now), mebi(peak), m[`homing_hellos_total{outcome="tls"}`], m[`homing_hellos_total{outcome="opaque"}`], m[`homing_hellos_total{outcome="invalid"}`])
	if m["homing_spliced_bytes_total"] == 0 {
		t.Error("nothing was spliced")
	}
	if buffers == 0 && m[`homing_hellos_total{outcome="tls"}`] > 0 {
		t.Error("no buffer was ever seen in use: no end was slow enough to matter")
	}
}

// summary counts what a run has covered.
type summary struct {
	conns, bytes                         int
	fins                                 int // ends that got the other's FIN
	resetsByClient, resetsByServer, rsts int // rsts: ends that got the other's RST
	unmet                                int // the client reset before the server had heard of it
}

func (s *summary) String() string {
	return fmt.Sprintf("%.0f MB, %d FINs seen, %d resets by clients, %d by servers, %d RSTs seen, %d conns gone before a backend met them",
		float64(s.bytes)/1e6, s.fins, s.resetsByClient, s.resetsByServer, s.rsts, s.unmet)
}

// judge compares what the two ends of each conn have met.
func judge(t *testing.T, plans []*plan, clients []*outcome, server *byteServer) summary {
	t.Helper()
	var sum summary
	failed := 0
	for i, p := range plans {
		c, s := clients[i], server.outcomes[i].Load()
		if c == nil {
			continue // said already
		}
		if s == nil {
			if !c.reset {
				t.Errorf("conn %d never came to the server; the client: %v", i, c)
			}
			sum.unmet++
			continue
		}
		for _, problem := range []string{direction("client", c, s, &p.client), direction("server", s, c, &p.server)} {
			if problem == "" {
				continue
			}
			if failed++; failed <= 10 {
				t.Errorf("conn %d: %s\n\tclient (%d bytes): %v\n\tserver (%d bytes): %v\n\tplans: client resets at %d, %d, server at %d, %d", i, problem,
					p.client.size(), c, p.server.size(), s, p.client.resetAt, p.client.deafAt, p.server.resetAt, p.server.deafAt)
			}
		}
		sum.add(c, s)
	}
	if failed > 10 {
		t.Errorf("and %d more", failed-10)
	}
	if n := server.strange.Load(); int(n) > sum.unmet {
		t.Errorf("%d conns ended within their first bytes at the server, %d clients reset so early", n, sum.unmet)
	}
	return sum
}

func (s *summary) add(client, server *outcome) {
	s.conns++
	s.bytes += client.got + server.got
	for _, o := range []*outcome{client, server} {
		if errors.Is(o.readEnd, io.EOF) && !o.sawReset() {
			s.fins++
		}
		if o.sawReset() && !o.reset {
			s.rsts++
		}
	}
	if client.reset {
		s.resetsByClient++
	}
	if server.reset {
		s.resetsByServer++
	}
}

// direction says what is wrong with the bytes from one end, called name, to the other.
func direction(name string, from, to *outcome, p *part) string {
	eof := errors.Is(to.readEnd, io.EOF)
	for _, err := range []error{from.writeEnd, to.readEnd} {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return "what the " + name + " sends hangs"
		}
	}
	switch {
	case to.bad != "":
		return "what the " + name + " sends arrives with " + to.bad
	case to.reset:
		return "" // it has stopped reading
	case from.reset && !from.fin:
		if !to.sawReset() {
			return "the " + name + "'s RST does not arrive"
		}
		return ""
	case eof && !to.sawReset() && to.got < p.size():
		return "what the " + name + " sends is cut by a FIN"
	case from.reset: // behind its FIN: either may be seen
		return ""
	case !eof:
		return "the " + name + "'s FIN does not arrive"
	case from.writeEnd != nil:
		return "the " + name + " cannot send"
	}
	return ""
}

package integration

import (
	"bufio"
	"fmt"
	"io"
	"testing"
	"time"
)

// limitsPeer is a process with the slow clients and the backend of one homing, which have descriptors of their own there.
type limitsPeer struct {
	in      io.Writer
	out     *bufio.Scanner
	backend string
}

func startLimitsPeer(t *testing.T) *limitsPeer {
	t.Helper()
	p := &limitsPeer{}
	p.in, p.out = again(t, limitsPeerVar+"=1")
	p.heed(t, &p.backend)
	return p
}

func (p *limitsPeer) say(t *testing.T, format string, args ...any) {
	t.Helper()
	if _, err := fmt.Fprintf(p.in, format+"\n", args...); err != nil {
		t.Fatal(err)
	}
}

// heed reads how a command ended, and the words behind ok.
func (p *limitsPeer) heed(t *testing.T, words ...any) {
	t.Helper()
	if !p.out.Scan() {
		t.Fatalf("slow clients have ended: %v", p.out.Err())
	}
	var ok string
	if n, _ := fmt.Sscan(p.out.Text(), append([]any{&ok}, words...)...); ok != "ok" || n != len(words)+1 {
		t.Fatalf("slow clients: %s", p.out.Text())
	}
}

// TestIntegrationLimitsMemory has 20,000 clients stop in the midst of their hello and 5,000 that do not read what they are
// sent: homing stays below its memory limit, those whose handshake is over stay, and good clients that resume nothing are
// served as long as there is memory for them.
//
// A conn takes one descriptor of homing while it has no whole hello and two from then on: 30,000 in all. Where the limit of
// open files does not allow that there are several homing, each with a part of the clients and the same limit.
func TestIntegrationLimitsMemory(t *testing.T) {
	needServers(t)
	if !soak() {
		t.Skip("25,000 conns: make soak runs it")
	}
	const hellos, readers, limit = 20_000, 5_000, 160 << 20
	n := (hellos + 2*readers + fileLimit(t) - 2000) / (fileLimit(t) - 1000)
	var all []*limitsPeer
	var nodes []*homing
	for range n {
		p := startLimitsPeer(t)
		h := startHoming(t, []string{p.backend}, "--memory-limit", fmt.Sprint(limit), "--loops", "2", "--probe", "off", "--no-checks",
			"--max-conns", "15000", "--max-pre-hello", "15000", "--hello-timeout", "10m", "--user-timeout", "0s", "--connect-timeout", "20s", "--fall", "100")
		all, nodes = append(all, p), append(nodes, h)
	}
	atRest, _ := nodes[0].memory(t)
	each := func(format string, count int) {
		for i, p := range all {
			p.say(t, format, count/n, nodes[i].addr)
		}
		for _, p := range all {
			p.heed(t)
		}
	}
	each("readers %d %s", readers)
	each("hellos %d %s", hellos)
	time.Sleep(3 * time.Second) // for the buffers to fill
	for i, p := range all {
		h := nodes[i]
		var slowHellos, slowReaders int
		p.say(t, "alive")
		p.heed(t, &slowHellos, &slowReaders)
		now, peak := h.memory(t)
		m := h.metrics(t)
		t.Logf("homing %d: %s at rest, %s now, %s at most, limit %s; %d of %d slow hellos and %d of %d slow readers are still there; %s of buffers, %s of conns, %v shed, %v reset for want of memory",
			i+1, mebi(atRest), mebi(now), mebi(peak), mebi(limit), slowHellos, hellos/n, slowReaders, readers/n, mebi(int64(m["homing_buffer_bytes"])), mebi(int64(m["homing_conn_bytes"])),
			m["homing_conns_shed_total"], m[`homing_terminations_total{code="RD"}`])
		if peak > limit {
			t.Errorf("homing %d has come to %s, %s are allowed", i+1, mebi(peak), mebi(limit))
		}
		if slowReaders < readers/n {
			t.Errorf("%d established conns were reset", readers/n-slowReaders)
		}
		for _, conn := range []int{0, 1, 2} {
			c, err := dialerFrom("").DialContext(t.Context(), "tcp", h.addr)
			if err == nil {
				err = roundTrip(c, plainHello())
				c.Close()
			}
			if err != nil {
				t.Errorf("good conn %d: %v", conn, err)
			}
		}
	}
}

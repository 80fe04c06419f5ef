package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"homing/bench/testkit"
)

// crowd is many backends on loopback addresses of their own, which greet and hang up. The last few are not there.
type crowd struct {
	addrs []string
	lives []net.Listener
	serve sync.WaitGroup
}

// greet is what a client of the crowd gets.
const greet = "hello, this is a backend of many\n"

func newCrowd(t *testing.T, n, dead int) *crowd {
	t.Helper()
	c := &crowd{}
	probe, err := net.Listen("tcp", "127.0.1.1:0")
	testkit.Check(t, err)
	port := probe.Addr().(*net.TCPAddr).Port
	probe.Close()
	for i := range n {
		addr := fmt.Sprintf("127.0.%d.%d:%d", 1+i/100, 1+i%100, port)
		c.addrs = append(c.addrs, addr)
		if i >= n-dead {
			continue
		}
		listener, err := net.Listen("tcp", addr)
		testkit.Check(t, err)
		c.lives = append(c.lives, listener)
		c.serve.Go(func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				_, _ = conn.Write([]byte(greet)) // a check has left already
				conn.Close()
			}
		})
	}
	t.Cleanup(func() {
		for _, l := range c.lives {
			l.Close()
		}
		c.serve.Wait()
	})
	return c
}

// visit makes conns, a bounded number at a time, until the test ends.
func visit(t *testing.T, addr string, pause time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var ended sync.WaitGroup
	ended.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		buf := make([]byte, 256)
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			conn, err := net.DialTimeout("tcp", addr, time.Second)
			if err != nil {
				continue
			}
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			for {
				if _, err := conn.Read(buf); err != nil {
					break
				}
			}
			conn.Close()
		}
	})
	t.Cleanup(func() { cancel(); ended.Wait() })
}

// manyBackends is a homing before two pools, of 190 and of 10 backends, from a file.
func manyBackends(t *testing.T) (*homing, *crowd) {
	t.Helper()
	needServers(t)
	c := newCrowd(t, 200, 12)
	h := &homing{addr: testkit.FreeAddr(t), admin: testkit.FreeAddr(t)}
	list := func(addrs []string) string { return "\n      - " + strings.Join(addrs, "\n      - ") + "\n" }
	text := fmt.Sprintf("listeners:\n  - {address: %q, tls: off, default: web}\nadmin: {address: %q}\nchecks: {interval: 1s, fall: 2}\npools:\n  - name: web\n    backends:%s  - name: mail\n    policy: least-conn\n    backends:%s",
		h.addr, h.admin, list(c.addrs[10:]), list(c.addrs[:10]))
	file := filepath.Join(t.TempDir(), "homing.yaml")
	testkit.Check(t, os.WriteFile(file, []byte(text), 0o600))
	h.start(t, "run", "--config", file, "--log-level", "warn")
	visit(t, h.addr, 5*time.Millisecond)
	return h, c
}

// health is of each backend, by address.
func (h *homing) health(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, p := range statusOf(t, h.admin).Pools {
		for _, b := range p.Backends {
			all[b.Address] = b.Health
		}
	}
	return all
}

func (h *homing) awaitHealth(t *testing.T, want string, addrs ...string) {
	t.Helper()
	if !testkit.Wait(testkit.Patience, func() bool {
		all := h.health(t)
		for _, addr := range addrs {
			if all[addr] != want {
				return false
			}
		}
		return true
	}) {
		t.Fatalf("not %s within %v: some of %v", want, testkit.Patience, addrs)
	}
}

// polled waits until the page has asked so many times more.
func (p *browserPage) polled(more int) {
	p.Helper()
	var now int
	p.js("polls", &now)
	p.await("more polls", "polls >= "+strconv.Itoa(now+more))
}

// order is the addresses of the first pool's rows.
func (p *browserPage) order() string {
	p.Helper()
	var list []string
	p.js(`[...document.querySelector("#pools tbody").rows].map(r => r.dataset.key)`, &list)
	return strings.Join(list, " ")
}

// TestIntegrationPageMany: with two hundred backends the page stays where its reader is, and is cheap.
func TestIntegrationPageMany(t *testing.T) {
	needChromium(t)
	h, c := manyBackends(t)
	h.awaitHealth(t, "down", c.addrs[188:]...)
	p := openPage(t, h.admin)
	p.await("the first fifty and the ten of the other pool are shown", `document.querySelectorAll("#pools tbody tr").length === 60`)
	p.await("the charts have a past", `[...document.querySelectorAll("#charts polyline")].every(l => l.getAttribute("points").split(" ").length > 2)`)
	p.picture("many-1400-light", 1400, false)
	p.picture("many-1400-dark", 1400, true)
	p.picture("many-390-light", 390, false)
	p.picture("many-390-dark", 390, true)
	p.do(chromedp.EmulateViewport(1400, 1000))

	shows := func(n int) string { return fmt.Sprintf(`document.querySelector("#pools tbody").rows.length === %d`, n) }
	choose := func(id, value string) {
		p.js(fmt.Sprintf(`(e => { e.value = %q; e.dispatchEvent(new Event("input", {bubbles: true})); })($(%q))`, value, id), nil)
	}
	choose("state", "down")
	p.await("the twelve that are down, and why",
		shows(12)+` && [...document.querySelectorAll("#pools tbody small")].every(e => e.textContent.includes("refused"))`)
	choose("find", strings.Split(c.addrs[199], ":")[0])
	p.await("one of them", shows(1))
	choose("find", "")
	choose("state", "")
	choose("sort", "state")
	p.await("those that are down come first",
		`[...document.querySelector("#pools tbody").rows].slice(0, 12).every(r => r.children[1].textContent.startsWith("down"))`)
	p.do(chromedp.Click("#pools .more", chromedp.ByQuery))
	p.await("all are shown", shows(190))
	p.costs(h)

	// Rows move while nobody is among them, and stay while somebody is.
	choose("sort", "bytes")
	before := p.order()
	testkit.Eventually(t, "the busiest are first, and their order changes", func() bool { return p.order() != before })
	p.js(`window.held = document.querySelector("#pools tbody").rows[40].querySelector("button"); held.focus(); held.scrollIntoView({block: "center"}); held.closest("tr").dataset.key`, new(string))
	type place struct {
		Focused bool
		Top, Y  float64
	}
	var was, is place
	const where = `({Focused: document.activeElement === held, Top: held.getBoundingClientRect().top, Y: scrollY})`
	p.js(`window.shifts = []; new PerformanceObserver(l => { for (const e of l.getEntries()) shifts.push(e.value + " " + e.sources.map(s => s.node && (s.node.id || s.node.nodeName + " " + s.node.textContent.slice(0, 40))).join(", ")); }).observe({type: "layout-shift", buffered: false}); 0`, nil)
	p.polled(1)
	before = p.order()
	p.js(where, &was)
	p.polled(4)
	if p.js(where, &is); is != was || !is.Focused {
		t.Errorf("the button was at %+v, and is after four updates at %+v", was, is)
	}
	if p.order() != before {
		t.Error("rows moved under the hands of somebody who is about to drain one")
	}
	var shifts []string
	if p.js("shifts", &shifts); len(shifts) > 0 {
		t.Errorf("the layout jumps: %q", shifts)
	}

	// A row that its filter no longer matches stays until its reader leaves it.
	choose("state", "up")
	p.js("held.focus()", nil)
	var key string
	p.js("held.closest('tr').dataset.key", &key)
	if out, code := homingCommand(t, "drain", key, "--admin", h.admin); code != 0 {
		t.Fatal(out)
	}
	p.await("the row says that it drains or is drained, and has the focus",
		`held.closest("tr").children[1].textContent.startsWith("drain") && document.activeElement === held`)
	p.js("held.blur()", nil)
	p.await("then it goes", "!held.isConnected")

	// What happens to a backend shows within two seconds. A busy machine may spoil one attempt, not three.
	choose("state", "")
	var late []time.Duration
	for i := range 3 {
		c.lives[20+i].Close()
		h.awaitHealth(t, "down", c.addrs[20+i])
		seen := p.await("the backend that ended",
			fmt.Sprintf(`[...document.querySelector("#pools tbody").rows].find(r => r.dataset.key === %q).children[1].textContent.startsWith("down")`, c.addrs[20+i]))
		if late = append(late, seen); seen <= 2*time.Second {
			break
		}
	}
	t.Logf("what happened to a backend showed %v after the API knew", late)
	if late[len(late)-1] > 2*time.Second {
		t.Errorf("what happens to a backend shows after %v", late)
	}
	p.content()
}

// content fails the test if the browser was not.
func (p *browserPage) content() {
	p.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, complaint := range p.complaints {
		p.Error("the browser complains: ", complaint)
	}
}

// costs measures what an update takes, and bounds it by what would make the page useless.
func (p *browserPage) costs(h *homing) {
	p.Helper()
	var took float64
	// The shortest of all: the others may have waited for the machine.
	p.js(`(() => { let least = Infinity; for (let i = 0; i < 20; i++) { const began = performance.now();
		for (const pool of status.pools) for (const b of pool.backends) { b.conns_open += 1; b.conns += 7; b.conns_per_second += 1.5; b.bytes_per_second += 1000; b.lost += 1; b.accepted += 1; }
		draw(); drawCharts(); drawSparks(); document.body.offsetHeight; least = Math.min(least, performance.now() - began); }
		return least; })()`, &took)
	size, history := len(p.fetch("/v1/status")), len(p.fetch("/v1/history"))
	const looks = 100
	began, before := time.Now(), threadTime(p, h.proc.PID())
	for range looks {
		p.fetch("/v1/status")
	}
	busy, window := threadTime(p, h.proc.PID())-before, time.Since(began)
	before = threadTime(p, h.proc.PID())
	<-time.After(window) // as long, without the looks: what conns, checks and the page take
	cpu := max(0, busy-(threadTime(p, h.proc.PID())-before)) / looks
	p.Logf("200 backends: an update of all rows, charts and lines takes %.1f ms in the browser, layout included; /v1/status has %d bytes and costs homing %s CPU, the history of %d bytes is fetched once", took, size, cpu.Round(10*time.Microsecond), history)
	if took > 1000 {
		p.Errorf("an update takes %.0f ms, more than the time between two", took)
	}
	if size > 300_000 {
		p.Errorf("/v1/status has %d bytes", size)
	}
}

// fetch is what the server answers, as text.
func (p *browserPage) fetch(path string) string {
	p.Helper()
	response, err := http.Get("http://" + p.admin + path) // the test has a bound of its own
	testkit.Check(p, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	testkit.Check(p, err)
	return string(text)
}

// threadTime is the CPU time of a process's threads (schedstat, the first field: nanoseconds on a CPU).
func threadTime(tb testing.TB, pid int) (sum time.Duration) {
	tb.Helper()
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(stats) == 0 {
		tb.Fatal("no threads: ", err)
	}
	for _, name := range stats {
		var ns int64
		if text, err := os.ReadFile(name); err == nil { // the thread has ended
			_, _ = fmt.Sscan(string(text), &ns)
		}
		sum += time.Duration(ns)
	}
	return sum
}

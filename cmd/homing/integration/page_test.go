package integration

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	cdpnetwork "github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"homing/balancer/pool"
	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/cmd/homing/internal/api"
)

func needChromium(t *testing.T) {
	t.Helper()
	needServers(t)
	if _, err := os.Stat("/usr/bin/chromium"); err != nil {
		t.Skip("chromium is not installed: apt-get install chromium")
	}
}

// browserPage is a headless Chromium with one page, and what it complained of.
type browserPage struct {
	testing.TB
	ctx   context.Context
	admin string
	clock *machineClock

	mu         sync.Mutex
	complaints []string // guarded by mu
}

func openPage(t *testing.T, admin string) *browserPage {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.NoSandbox, chromedp.DisableGPU, chromedp.ExecPath("/usr/bin/chromium"))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	// What this browser says and this chromedp does not know, of every page, is no fault of the page.
	ctx, cancel := chromedp.NewContext(allocator, chromedp.WithErrorf(func(string, ...any) {}))
	t.Cleanup(cancel)
	ctx, bound := context.WithTimeout(ctx, 5*testkit.Patience)
	t.Cleanup(bound)
	p := &browserPage{TB: t, ctx: ctx, admin: admin, clock: watchMachine(t)}
	chromedp.ListenTarget(ctx, func(event any) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			p.complaints = append(p.complaints, e.ExceptionDetails.Error())
		case *cdplog.EventEntryAdded:
			if e.Entry.Level == cdplog.LevelError || e.Entry.Level == cdplog.LevelWarning {
				p.complaints = append(p.complaints, e.Entry.Text+" "+e.Entry.URL)
			}
		case *runtime.EventConsoleAPICalled:
			p.complaints = append(p.complaints, fmt.Sprint("console.", e.Type))
		case *cdpnetwork.EventRequestWillBeSent:
			if !strings.HasPrefix(e.Request.URL, "http://"+admin+"/") && !strings.HasPrefix(e.Request.URL, "data:") {
				p.complaints = append(p.complaints, "it fetches "+e.Request.URL)
			}
		}
	})
	p.do(cdpnetwork.Enable(), chromedp.EmulateViewport(1400, 1000), chromedp.Navigate("http://"+admin+"/"))
	return p
}

func (p *browserPage) do(actions ...chromedp.Action) {
	p.Helper()
	testkit.Check(p, chromedp.Run(p.ctx, actions...))
}

// js is the value of an expression in the page.
func (p *browserPage) js(expression string, out any) {
	p.Helper()
	p.do(chromedp.Evaluate(expression, out))
}

// await waits until the page is as the expression says, and tells how long that took by the machine's clock.
func (p *browserPage) await(what, expression string) time.Duration {
	p.Helper()
	start := time.Now()
	var ok bool
	if !testkit.Wait(testkit.Patience, func() bool { p.js("!!("+expression+")", &ok); return ok }) {
		var text string
		p.js("document.body.innerText", &text)
		p.Fatalf("not within %v: %s; the page says\n%s", testkit.Patience, what, text)
	}
	return p.clock.since(start)
}

// picture writes a screenshot of the whole page where HOMING_SCREENSHOTS names a directory.
func (p *browserPage) picture(name string, width int64, dark bool) {
	p.Helper()
	scheme := "light"
	if dark {
		scheme = "dark"
	}
	var png []byte
	p.do(chromedp.EmulateViewport(width, 1000),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
		chromedp.FullScreenshot(&png, 100))
	var wide bool
	if p.js("document.documentElement.scrollWidth > innerWidth", &wide); wide {
		p.Errorf("at %d pixels the page is wider than its window", width)
	}
	if dir := os.Getenv("HOMING_SCREENSHOTS"); dir != "" {
		testkit.Check(p, os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600))
	}
}

func statusOf(t *testing.T, admin string) (st api.Status) {
	t.Helper()
	response, err := http.Get("http://" + admin + "/v1/status") // the test has a bound of its own
	testkit.Check(t, err)
	defer response.Body.Close()
	testkit.Check(t, json.NewDecoder(response.Body).Decode(&st))
	return st
}

// charted compares the charts, and the same in words, with the history of the API. Nothing happens any more.
func (p *browserPage) charted() {
	p.Helper()
	p.js(`$("numbers").open = true`, nil)
	p.polled(3)
	var h api.History
	testkit.Check(p, json.Unmarshal([]byte(p.fetch("/v1/history")), &h))
	highest := func(of func(*api.BackendSeries) []float64) (most float64) {
		for i := range of(&h.Backends[0]) {
			sum := 0.0
			for b := range h.Backends {
				sum += of(&h.Backends[b])[i]
			}
			most = max(most, sum)
		}
		return most
	}
	for i, of := range []func(*api.BackendSeries) []float64{
		func(b *api.BackendSeries) []float64 { return b.Open }, func(b *api.BackendSeries) []float64 { return b.Conns },
		func(b *api.BackendSeries) []float64 { return b.Bytes }, func(b *api.BackendSeries) []float64 { return b.Accepted },
	} {
		var shown struct {
			Want, Said, Now string
			Points          int
		}
		p.js(fmt.Sprintf(`(f => ({Want: number(%v), Said: f.querySelector("svg").getAttribute("aria-label"), Points: f.querySelector("polyline").getAttribute("points").split(" ").length, Now: $("numbers-body").rows[0].cells[%d].textContent}))($("charts").children[%d])`, highest(of), i+1, i), &shown)
		if !strings.Contains(shown.Said, "highest "+shown.Want) || shown.Now != "0" ||
			shown.Points+1 < len(of(&h.Backends[0])) { // one may be newer
			p.Errorf("chart %d says %q with %d points and %q now, the API has at most %s in %d samples", i, shown.Said,
				shown.Points, shown.Now, shown.Want, len(of(&h.Backends[0])))
		}
	}
}

// The status page of one of a pair of nodes under load, with real nginx, in a real browser.
func TestIntegrationPage(t *testing.T) {
	needChromium(t)
	servers, cert := three(t, farm.NginxConfig{}, farm.NewECDSA)
	var flags []string
	for _, n := range servers {
		flags = append(flags, "--backend", n.Addr())
	}
	w := newTown(t, flags...)
	w.build(t, 2)
	h := &w.nodes[0].homing
	list := users(t, h.addr, 6, goUser(cert, tls.VersionTLS12))
	list = append(list, users(t, h.addr, 6, goUser(cert, tls.VersionTLS13))...)
	list = append(list, users(t, h.addr, 6, idUser(cert))...)
	next := make(chan user, len(list))
	for _, u := range list {
		next <- u
	}
	stream := func() user { u := <-next; next <- u; return u }
	v := visiting(t, h.addr, stream)
	v.more(t, time.Now(), 50, 1)

	p := openPage(t, h.admin)
	p.await("three backends are shown", `document.querySelectorAll("#pools tbody tr").length === 3`)
	p.await("ticket keys, the other node and events are shown",
		`document.querySelectorAll("#keys tr").length > 0 && document.querySelectorAll("#nodes tr").length === 1 && document.querySelectorAll("#events li").length > 0`)
	p.await("its lines have a past", `[...document.querySelectorAll("polyline")].every(l => l.getAttribute("points").split(" ").length > 2)`)
	p.picture("page-1400-light", 1400, false)
	p.picture("page-1400-dark", 1400, true)
	p.picture("page-390-light", 390, false)
	p.picture("page-390-dark", 390, true)
	p.do(chromedp.EmulateViewport(1400, 1000))

	// When nothing happens any more, each number is the API's.
	v.stop()
	st := statusOf(t, h.admin)
	for deadline := time.Now().Add(10 * time.Second); ; st = statusOf(t, h.admin) {
		var accepted string
		p.js(`[...document.querySelectorAll("#now div")].find(d => d.dataset.key === "Conns accepted").lastChild.dataset.value`, &accepted)
		if accepted == fmt.Sprint(st.Totals.ConnsAccepted) && st.Totals.ConnsOpen == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the page says %s conns, the API %d", accepted, st.Totals.ConnsAccepted)
		}
	}
	p.await("no rate is left", `[...document.querySelectorAll("#pools tbody tr")].every(r => r.children[3].title === "0")`)
	for _, b := range st.Pools[0].Backends {
		var cells []string
		p.js(fmt.Sprintf(`(r => [r.children[1].textContent, r.children[2].title, r.children[5].title, r.children[6].title, r.children[7].title])([...document.querySelectorAll("#pools tbody tr")].find(r => r.dataset.key === %q))`, b.Address), &cells)
		want := []string{"up", fmt.Sprint(b.ConnsOpen), fmt.Sprint(b.Conns), fmt.Sprintf("%d of %d", b.Accepted, b.Accepted+b.Refused), fmt.Sprint(b.Lost)}
		if strings.Join(cells, "|") != strings.Join(want, "|") {
			t.Errorf("%s: the page says %q, the API %q", b.Address, cells, want)
		}
	}
	for i, o := range st.Totals.Offers {
		var text string
		p.js(fmt.Sprintf(`document.querySelectorAll("#resumed dt")[%d].textContent`, i), &text)
		if want := fmt.Sprintf("(%d of %d)", o.Accepted, o.Accepted+o.Refused); !strings.HasSuffix(text, want) {
			t.Errorf("%s: the page says %q, the API %s", o.Kind, text, want)
		}
	}
	for reason, n := range st.Totals.Lost {
		var text string
		p.js(fmt.Sprintf(`[...document.querySelectorAll("#lost div")].find(d => d.dataset.key === %q).lastChild.dataset.value || "0"`, strings.ReplaceAll(reason, "_", " ")), &text)
		if text != fmt.Sprint(n) {
			t.Errorf("lost %s: the page says %s, the API %d", reason, text, n)
		}
	}

	p.charted()

	// Drained by mouse, at both nodes; back by keyboard.
	drain := fmt.Sprintf(`button[aria-label="Drain %s of pool default"]`, servers[0].Addr())
	p.do(chromedp.Click(drain), chromedp.WaitVisible("#dialog"))
	p.picture("page-1400-dialog", 1400, false)
	p.do(chromedp.Click("#d-yes"))
	took := p.await("it is draining", fmt.Sprintf(`[...document.querySelectorAll("#pools tbody tr")].find(r => r.dataset.key === %q).children[1].textContent.startsWith("draining")`, servers[0].Addr()))
	for i, one := range w.nodes {
		for _, b := range statusOf(t, one.admin).Pools[0].Backends {
			want := pool.DrainOff
			if b.Address == servers[0].Addr() {
				want = pool.DrainSoft
			}
			if b.Drain.Mode != want.String() {
				t.Errorf("node %d: %s is drained %s, want %s", i, b.Address, b.Drain.Mode, want)
			}
		}
	}
	undrain := strings.Replace(drain, "Drain", "Undrain", 1)
	p.do(chromedp.Focus(undrain), chromedp.KeyEvent(kb.Enter), chromedp.WaitVisible("#dialog"), chromedp.KeyEvent(kb.Tab),
		chromedp.KeyEvent(kb.Enter))
	p.await("it is back in service", fmt.Sprintf(`[...document.querySelectorAll("#pools tbody tr")].find(r => r.dataset.key === %q).children[1].textContent === "up"`, servers[0].Addr()))
	if b := statusOf(t, h.admin).Pools[0].Backends[0]; b.Drain.Mode != "off" {
		t.Errorf("the API says %+v", b.Drain)
	}

	// What others do shows within two seconds.
	if out, code := homingCommand(t, "drain", servers[1].Addr(), "--admin", h.admin); code != 0 {
		t.Fatal(out)
	}
	if seen := p.await("another's drain", fmt.Sprintf(`[...document.querySelectorAll("#pools tbody tr")].find(r => r.dataset.key === %q).children[1].textContent !== "up"`, servers[1].Addr())); seen > 2*time.Second {
		t.Errorf("another's drain shows after %s", seen)
	}
	t.Logf("a drain by mouse showed after %s", took)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, complaint := range p.complaints {
		t.Error("the browser complains: ", complaint)
	}
}

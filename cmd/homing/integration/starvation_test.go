package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"homing/bench/testkit"
)

// longestAnswer bounds the 99th percentile of what is measured here. It tells starving from being slow; how slow is logged,
// beside a server that only shares the machine.
const longestAnswer = 2 * time.Second

// TestIntegrationStarvation: loops that are busy with short conns leave operators their answers, and operators who ask
// without end leave conns theirs. The clients and the backends take the rest of the machine, so that a process of
// another server, idle but for being asked as often, shows what the machine leaves to anybody.
func TestIntegrationStarvation(t *testing.T) {
	needServers(t)
	if !soak() {
		t.Skip("takes 80 s: make soak runs it")
	}
	for i, engine := range []string{"io_uring", "epoll"} {
		for loops := 1; loops <= 2; loops++ {
			t.Run(fmt.Sprintf("%s, loops %d", engine, loops), func(t *testing.T) { starvation(t, i*2+loops, engine, loops) })
		}
	}
}

func starvation(t *testing.T, number int, engine string, loops int) {
	const busy, asked = 15, 5 // seconds
	peer, other := startIdlePeer(t, number), startIdleServer(t)
	h := startHoming(t, peer.backends, "--loops", fmt.Sprint(loops), "--engine", engine, "--probe", "off")
	get := func(url string) func() error { return func() error { return fetch(t.Context(), url) } }

	peer.say(t, fmt.Sprintf("hammer %d %d %s", 8*runtime.GOMAXPROCS(0), busy, h.addr))
	report(t, "while conns come as fast as they can", busy*time.Second, map[string]func() error{
		"/metrics": get("http://" + h.admin + "/metrics"), "/healthz": get("http://" +
			h.admin + "/healthz"), "another server": get("http://" + other),
	})
	peer.heed(t)
	m := h.metrics(t)
	t.Logf("%.0f conns a second", m["homing_conns_accepted_total"]/busy)
	if m["homing_conns_accepted_total"] == 0 {
		t.Error("no conn came")
	}

	clients := &idleClients{number: number}
	hello, n := plainHello(), 0
	conn := func() error {
		n++
		c, err := clients.dial(h.addr, n)
		if err != nil {
			return err
		}
		defer c.Close()
		return roundTrip(c, hello)
	}
	report(t, "while nobody asks", asked*time.Second, map[string]func() error{"a conn": conn})
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			for ctx.Err() == nil {
				if err := fetch(ctx, "http://"+h.admin+"/metrics"); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	report(t, "while /metrics is asked without end", asked*time.Second, map[string]func() error{"a conn": conn})
	stop()
	group.Wait()
}

// report makes each of the calls 20 times a second and logs how long they took.
func report(t *testing.T, when string, lasts time.Duration, calls map[string]func() error) {
	t.Helper()
	var group sync.WaitGroup
	for name, call := range calls {
		group.Go(func() {
			var took []time.Duration
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			for end := time.Now().Add(lasts); time.Now().Before(end); <-tick.C {
				began := time.Now()
				if err := call(); err != nil {
					t.Errorf("%s, %s: %v", when, name, err)
					return
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			p99 := took[len(took)*99/100]
			t.Logf("%s, %s: p50 %v, p99 %v, most %v of %d", when, name, took[len(took)/2], p99, took[len(took)-1], len(took))
			if p99 > longestAnswer {
				t.Errorf("%s, %s starves", when, name)
			}
		})
	}
	group.Wait()
}

// fetch reads all of an answer, which is to be 200.
func fetch(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, idlePatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

// idleServerVar tells a process of this test that it is to serve HTTP and do nothing else.
const idleServerVar = "HOMING_IDLE_SERVER"

// startIdleServer returns the address of a process of its own that answers every request.
func startIdleServer(t *testing.T) (addr string) {
	t.Helper()
	addr = testkit.FreeAddr(t)
	_, out := again(t, idleServerVar+"="+addr)
	if !out.Scan() {
		t.Fatal("no server")
	}
	return addr
}

// runIdleServer is the process: it serves as many bytes as /metrics has.
func runIdleServer(addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	body := make([]byte, 16<<10)
	go func() {
		_ = http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
	}()
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

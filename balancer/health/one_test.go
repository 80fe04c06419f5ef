package health

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"homing/balancer/netaddr"
	"homing/bench/testkit"
)

// TestWatchOne: the first success counts at once, then Rise and Fall do, and what this machine lacks does not.
func TestWatchOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{fails: map[string]error{}, checks: map[string]int{}}
		var log testkit.Log
		c, err := New(nil, Config{Interval: time.Second, Rise: 3, Fall: 2, Log: log.Logger()})
		if err != nil {
			t.Fatal(err)
		}
		c.check = n.check
		n.set(one, dialed(syscall.ECONNREFUSED))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		var mu sync.Mutex
		var told []string // guarded by mu
		go func() {
			defer close(ended)
			c.WatchOne(ctx, netaddr.MustParse(one), func(up bool, why string) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, fmt.Sprintf("check %d: %t, %s", n.count(one), up, why))
			})
		}()
		expect := func(d time.Duration, err error, want ...string) {
			t.Helper()
			n.set(one, err)
			n.count(one)
			mu.Lock()
			told = nil
			mu.Unlock()
			time.Sleep(d)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(told, want) {
				t.Errorf("told %q, want %q", told, want)
			}
		}
		synctest.Wait()
		expect(5500*time.Millisecond, dialed(syscall.ECONNREFUSED), "check 1: false, 2 checks in a row failed, the last: connection refused")
		expect(4*time.Second, dialed(syscall.EHOSTUNREACH), "check 2: false, 2 checks in a row failed, the last: no route to host")
		time.Sleep(100 * time.Millisecond)
		expect(3*time.Second, nil, "check 1: true, a check succeeded")
		expect(3*time.Second, dialed(syscall.EMFILE))
		expect(4*time.Second, dialed(syscall.ECONNREFUSED), "check 2: false, 2 checks in a row failed, the last: connection refused")
		expect(6*time.Second, nil, "check 3: true, 3 checks in a row succeeded")
		cancel()
		<-ended
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, "too many open files") {
			t.Errorf("log: %s", text)
		}
	})
}

package integration

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"homing/bench/testkit"
)

const (
	overloadRate    = 60              // conns a second that one of three backends accepts
	overloadQueue   = 8               // connections that wait for it
	overloadLasts   = 4 * time.Second // how long clients come
	overloadConnect = 6 * time.Second // what a client may wait for a backend
	overloadSteady  = 12              // conns that were there before
)

// A flood of clients, more than the backends can take, is load: no backend is marked down, those who cannot be served at
// once wait for as long as connects may take, and conns that are there stay, also where a backend that goes down has its
// conns reset. HAProxy stands beside it, with the same timeouts, checks and backends.
func TestIntegrationOverload(t *testing.T) {
	needServers(t)
	for _, times := range []int{2, 5} {
		rate := 3 * overloadRate * times
		t.Run(fmt.Sprintf("%d times", times), func(t *testing.T) {
			clock := watchMachine(t)
			haproxy := overload(t, clock, rate, overloadHAProxy)
			t.Logf("haproxy   %v", haproxy)
			for _, engine := range []string{"io_uring", "epoll"} {
				got := overload(t, clock, rate, func(t *testing.T, backends []string) (string, func()) { return overloadHoming(t, engine, backends) })
				t.Logf("%-9s %v", engine, got)
				if got.answered*10 < haproxy.answered*8 {
					t.Errorf("%s: %d conns were answered, HAProxy's were %d", engine, got.answered, haproxy.answered)
				}
				// A machine that is late takes from the backends what they could take.
				if times == 2 && float64(got.reset) > float64(got.all)*max(0.1, got.late) {
					t.Errorf("%s: %d of %d conns were reset, though backends could take all in time", engine, got.reset, got.all)
				}
				if most := 3 * overloadConnect; got.longest > most {
					t.Errorf("%s: a client has waited %v, more than %v", engine, got.longest, most)
				}
				if got.lost > 0 {
					t.Errorf("%s: %d of %d conns that were there are gone", engine, got.lost, overloadSteady)
				}
			}
		})
	}
}

// crowded is what became of a crowd of clients.
type crowded struct {
	all, answered, reset, other int
	longest, longestReset       time.Duration
	lost                        int     // conns that were there before
	late                        float64 // the part of the time by which the machine was late
}

func (c crowded) String() string {
	return fmt.Sprintf("%d conns: %d answered, %d reset, %d others; longest wait %v for an answer, %v for a reset; %d old conns lost; the machine was late by %.0f%%",
		c.all, c.answered, c.reset, c.other, c.longest.Round(time.Millisecond), c.longestReset.Round(time.Millisecond), c.lost, 100*c.late)
}

// overload has a crowd come to what start begins before three slow backends, and returns what became of it. What start
// returns is called when the crowd has come, and while it still waits.
func overload(t *testing.T, clock *machineClock, rate int, start func(t *testing.T, backends []string) (addr string, meanwhile func())) (got crowded) {
	t.Helper()
	var backends []string
	for range 3 {
		backends = append(backends, slowAccept(t))
	}
	addr, meanwhile := start(t, backends)
	var steady []net.Conn
	for range overloadSteady {
		c, err := net.Dial("tcp", addr)
		testkit.Check(t, err)
		defer c.Close()
		testkit.Check(t, roundTrip(c, plainHello()))
		steady = append(steady, c)
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	var answered, reset []stretch
	began := time.Now()
	got.all = int(overloadLasts.Seconds() * float64(rate))
	for i := range got.all {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due))
		all.Go(func() {
			err := overloadOne(addr)
			end := time.Now()
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				got.answered++
				answered = append(answered, stretch{due, end})
			case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF):
				got.reset++
				reset = append(reset, stretch{due, end})
			default:
				got.other++
			}
		})
	}
	meanwhile()
	all.Wait()
	whole := stretch{began, time.Now()}
	got.late = 1 - float64(clock.took(whole))/float64(whole.end.Sub(began))
	got.longest, got.longestReset = clock.longest(answered), clock.longest(reset)
	meanwhile()
	for _, c := range steady {
		if err := roundTrip(c, []byte("still there?")); err != nil {
			got.lost++
		}
	}
	return got
}

// overloadOne is one client, up to its answer.
func overloadOne(addr string) error {
	c, err := net.DialTimeout("tcp", addr, idlePatience)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(idlePatience)) // an open socket takes any
	if _, err := c.Write(plainHello()); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, len(answerRecord)))
	return err
}

// slowAccept is a backend that accepts overloadRate conns a second and answers each of their messages at once.
func slowAccept(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	testkit.Check(t, err)
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	testkit.Check(t, errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, overloadQueue)))
	ln, err := net.FileListener(file)
	testkit.Check(t, err)
	t.Cleanup(func() { ln.Close() })
	go func() {
		turn := time.NewTicker(time.Second / overloadRate)
		defer turn.Stop()
		for range turn.C {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 1024)
				for {
					if _, err := c.Read(buf); err != nil {
						return
					}
					if _, err := io.WriteString(c, answerRecord); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

// overloadHoming starts homing. What it returns checks that all backends are up, and always were.
func overloadHoming(t *testing.T, engine string, backends []string) (string, func()) {
	h := startHoming(t, backends, "--engine", engine, "--connect-timeout", overloadConnect.String(), "--on-down", "reset",
		"--check-interval", "300ms", "--check-timeout", "300ms", "--probe", "off")
	return h.addr, func() {
		for addr, b := range backendsOf(t, h, "default") {
			if b.Health != "up" || !b.HealthSince.IsZero() {
				t.Errorf("%s: %s is %s since %v: %s", engine, addr, b.Health, b.HealthSince, b.HealthWhy)
			}
		}
	}
}

// overloadHAProxy starts HAProxy: three tries of a third of overloadConnect, as homing has them.
func overloadHAProxy(t *testing.T, backends []string) (string, func()) {
	addr := testkit.FreeAddr(t)
	var b strings.Builder
	fmt.Fprintf(&b, "global\n\tmaxconn 8000\ndefaults\n\tmode tcp\n\ttimeout connect %v\n\ttimeout client 1m\n\ttimeout server 1m\n", overloadConnect/3)
	fmt.Fprintf(&b, "\tretries 2\n\toption redispatch 1\n\ttimeout check 300ms\nlisten farm\n\tbind %s\n\tbalance roundrobin\n", addr)
	for i, backend := range backends {
		fmt.Fprintf(&b, "\tserver b%d %s check inter 300ms fall 3 rise 2 on-marked-down shutdown-sessions\n", i, backend)
	}
	conf := filepath.Join(t.TempDir(), "haproxy.cfg")
	testkit.Check(t, os.WriteFile(conf, []byte(b.String()), 0o600))
	path, err := exec.LookPath("haproxy")
	if err != nil {
		t.Fatal("haproxy is not installed: apt-get install haproxy")
	}
	testkit.Start(t, addr, path, "-db", "-f", conf)
	return addr, func() {}
}

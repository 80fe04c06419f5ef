package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/api"
)

const (
	forbiddenBad  = "198.18.79.9" // the backend that is not to be reached
	forbiddenGood = "127.0.0.9:18443"
)

// forbidding is a way in which a machine, or what is plugged into its network, keeps a process from one backend.
type forbidding struct {
	name  string
	setup []string // commands of ip or nft, in the namespace
	errno string   // what connect says, and the status
	conn  string   // what the conn log says, if it is something else
}

// What connect says of one backend is that backend's failure, whatever it is: its conns go to the next backend at once, the
// conn log and the status name the errno, and nothing is taken for a shortage of this machine. Checks see it too.
func TestIntegrationUnreachable(t *testing.T) {
	needServers(t)
	room := testkit.NewRoom(t, "homing-forbidden", nil)
	room.IP(t, "addr", "add", "198.18.79.1/32", "dev", "lo")
	server := room.Command(t.Context(), os.Args[0])
	server.Env = append(os.Environ(), idleServerVar+"="+forbiddenGood)
	stdin, err := server.StdinPipe()
	testkit.Check(t, err)
	testkit.Check(t, server.Start())
	t.Cleanup(func() { stdin.Close(); _ = server.Wait() }) // that is its end
	table := []string{"add table inet homing", "add chain inet homing out { type filter hook output priority 0; }"}
	for _, way := range []forbidding{
		{"prohibit", []string{"ip route add prohibit " + forbiddenBad}, "permission denied", ""},
		{"blackhole", []string{"ip route add blackhole " + forbiddenBad}, "invalid argument", ""},
		{"unreachable", []string{"ip route add unreachable " + forbiddenBad}, "no route to host", ""},
		{"no route", nil, "network is unreachable", ""},
		{"reset", append(nft(table), "nft add rule inet homing out ip daddr "+forbiddenBad+" tcp dport 443 reject with tcp reset", "ip route add "+forbiddenBad+" dev lo"), "connection refused", ""},
		{"drop", append(nft(table), "nft add rule inet homing out ip daddr "+forbiddenBad+" drop", "ip route add "+forbiddenBad+" dev lo"), "timeout", "connection timed out"},
	} {
		for _, engine := range []string{"io_uring", "epoll"} {
			for _, checks := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s %s checks=%v", way.name, engine, checks), func(t *testing.T) { forbidden(t, room, way, engine, checks) })
			}
		}
	}
}

// nft makes commands of statements.
func nft(statements []string) (commands []string) {
	for _, s := range statements {
		commands = append(commands, "nft "+s)
	}
	return commands
}

func forbidden(t *testing.T, room testkit.Room, way forbidding, engine string, checks bool) {
	t.Cleanup(func() {
		for _, undo := range []string{"ip route flush table main", "nft flush ruleset"} {
			_ = room.Command(context.Background(), "sh", "-c", undo).Run() // there may be nothing
		}
	})
	for _, do := range way.setup {
		room.Run(t, "sh", "-c", strings.NewReplacer("{", "'{", "}", "}'").Replace(do))
	}
	dir := t.TempDir()
	socket, admin := filepath.Join(dir, "in"), filepath.Join(dir, "admin")
	args := []string{
		"run", "--listen", "unix:" + socket, "--admin", "unix:" + admin, "--engine", engine,
		"--backend", forbiddenBad + ":443", "--backend", forbiddenGood, "--probe", "off", "--connect-timeout", "900ms", "--log-conns", "--loops", "1",
	}
	if checks {
		args = append(args, "--check-interval", "200ms", "--check-timeout", "200ms")
	} else {
		args = append(args, "--no-checks")
	}
	var out strings.Builder
	homing := room.Command(context.Background(), binary, args...)
	homing.Stdout, homing.Stderr = &out, &out
	testkit.Check(t, homing.Start())
	defer func() { _ = homing.Process.Kill() }() // it is gone already, but for a test that fails
	there := func() bool { _, err := os.Stat(admin); return err == nil }
	testkit.Eventually(t, "homing starts", there)
	failed := 0
	one := func() {
		c, err := net.Dial("unix", socket)
		if err == nil {
			_ = c.SetDeadline(time.Now().Add(idlePatience)) // an open socket takes any
			if err = send(c, []byte("GET / HTTP/1.0\r\n\r\n")); err == nil {
				_, err = c.Read(make([]byte, 1))
			}
			c.Close()
		}
		if err != nil {
			failed++
			t.Logf("a conn: %v", err)
		}
	}
	var bad api.Backend
	var all api.Status
	down := func() bool {
		one()
		all = statusBy(t, admin)
		for _, b := range all.Pools[0].Backends {
			if b.Address == forbiddenBad+":443" {
				bad = b
			}
		}
		// With checks the first of them has found it out before any conn could.
		// A view may fall between a backend's fall and its reason.
		return bad.Health == "down" && bad.HealthWhy != "" && (checks || all.Totals.ConnectFailures > 0)
	}
	if !testkit.Wait(testkit.Patience, down) || !strings.Contains(bad.HealthWhy, way.errno) {
		t.Errorf("the backend is %s: %q, want %q; %d connects have failed", bad.Health, bad.HealthWhy, way.errno, all.Totals.ConnectFailures)
	}
	if failed > 0 {
		t.Errorf("%d conns failed, though there is another backend", failed)
	}
	want := way.conn
	if want == "" {
		want = way.errno
	}
	_ = homing.Process.Signal(os.Interrupt)
	if err := homing.Wait(); err != nil {
		t.Errorf("homing ended with %v", err)
	}
	if t.Failed() {
		t.Logf("homing said:\n%s", &out)
	}
	if !checks && !strings.Contains(out.String(), fmt.Sprintf("connect_error=%q", want)) {
		t.Errorf("the conn log does not say %q", want)
	}
	for _, wrong := range []string{"termination=R", "checks cannot be made"} {
		if strings.Contains(out.String(), wrong) {
			t.Errorf("the log says %s", wrong)
		}
	}
}

// statusBy asks for the status by a unix socket.
func statusBy(t *testing.T, path string) (st api.Status) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}
	response, err := (&http.Client{Transport: transport}).Get("http://homing/v1/status") // the test has a bound of its own
	testkit.Check(t, err)
	defer response.Body.Close()
	testkit.Check(t, json.NewDecoder(response.Body).Decode(&st))
	return st
}

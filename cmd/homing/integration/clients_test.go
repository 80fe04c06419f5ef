package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
)

// user is one client with one session, which it offers on each conn after the first.
type user interface {
	Get(ctx context.Context, addr string) (tlsclient.Result, error)
}

// openssl is a user of `openssl s_client`, which keeps its session in a file.
type openssl struct {
	path    string
	session string
	args    []string
	source  func() *net.TCPAddr
}

// newOpenSSL returns a maker of users with the given flags of s_client.
func newOpenSSL(t *testing.T, cert *farm.Certificate, flags ...string) func() user {
	t.Helper()
	path, err := farm.Find("openssl", "openssl")
	testkit.Check(t, err)
	dir := t.TempDir()
	roots := filepath.Join(dir, "roots.pem")
	testkit.Check(t, os.WriteFile(roots, cert.Chain, 0o600))
	n := 0
	return func() user {
		n++
		args := append([]string{
			"s_client", "-ign_eof", "-servername", farm.ServerName, "-verify_hostname", farm.ServerName,
			"-CAfile", roots, "-verify_return_error",
		}, flags...)
		return &openssl{path: path, session: filepath.Join(dir, fmt.Sprintf("session%d", n)), args: args, source: tlsclient.RandomLoopback}
	}
}

// answerLine is the body of an answer of the farm's nginx.
var answerLine = regexp.MustCompile(`(?m)^([abc]) (r|\.) TLSv1\.[23] (?:127|198)\.`)

func (o *openssl) Get(ctx context.Context, addr string) (tlsclient.Result, error) {
	res := tlsclient.Result{}
	ctx, cancel := context.WithTimeout(ctx, tlsclient.Timeout)
	defer cancel()
	args := append(slices.Clip(o.args), "-connect", addr, "-bind", o.source().String(), "-sess_out", o.session)
	if _, err := os.Stat(o.session); err == nil {
		res.Offered = true
		args = append(args, "-sess_in", o.session)
	}
	cmd := exec.CommandContext(ctx, o.path, args...)
	cmd.Stdin = strings.NewReader("GET / HTTP/1.0\r\n\r\n")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return res, fmt.Errorf("%w: %s", err, out)
	}
	answer := answerLine.FindSubmatch(out)
	if answer == nil {
		return res, fmt.Errorf("no answer from a backend: %s", out)
	}
	res.Backend = string(answer[1])
	res.Resumed = strings.Contains(string(out), "\nReused, ")
	if server := string(answer[2]) == "r"; server != res.Resumed {
		return res, fmt.Errorf("openssl says resumed %v, nginx %v", res.Resumed, server)
	}
	return res, nil
}

// curl makes n conns with one process, one after another, each from another address, and returns what nginx said of
// each. The process keeps its sessions in memory: the first conn is fresh, the others offer to resume.
func curl(t *testing.T, cert *farm.Certificate, addr string, n int, flags ...string) []tlsclient.Result {
	t.Helper()
	return curlFrom(t, cert, tlsclient.RandomLoopback, addr, n, flags...)
}

// curlFrom is curl from addresses of the caller's choice.
func curlFrom(t *testing.T, cert *farm.Certificate, source func() *net.TCPAddr, addr string, n int, flags ...string) []tlsclient.Result {
	t.Helper()
	path, err := farm.Find("curl", "curl")
	testkit.Check(t, err)
	roots := filepath.Join(t.TempDir(), "roots.pem")
	testkit.Check(t, os.WriteFile(roots, cert.Chain, 0o600))
	host, port, err := net.SplitHostPort(addr)
	testkit.Check(t, err)
	args := []string{}
	for i := range n {
		if i > 0 {
			args = append(args, "--next")
		}
		args = append(args, "--silent", "--show-error", "--fail", "--cacert", roots, "--http1.0",
			"--resolve", farm.ServerName+":"+port+":"+host, "--interface", source().IP.String())
		args = append(args, flags...)
		args = append(args, fmt.Sprintf("https://%s:%s/", farm.ServerName, port))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("curl: %v: %s", err, out)
	}
	var results []tlsclient.Result
	for i, answer := range answerLine.FindAllSubmatch(out, -1) {
		results = append(results, tlsclient.Result{Backend: string(answer[1]), Offered: i > 0, Resumed: string(answer[2]) == "r"})
	}
	if len(results) != n {
		t.Fatalf("%d answers to %d conns: %s", len(results), n, out)
	}
	return results
}

// tally is what became of the offers of a number of conns.
type tally struct {
	conns, offered, accepted int
	met                      map[string]int // conns by backend
}

func (c *tally) add(r tlsclient.Result) {
	if c.met == nil {
		c.met = map[string]int{}
	}
	c.conns++
	if r.Offered {
		c.offered++
	}
	if r.Resumed {
		c.accepted++
	}
	c.met[r.Backend]++
}

func (c *tally) refused() int { return c.offered - c.accepted }

func (c *tally) String() string {
	return fmt.Sprintf("%d conns, %d offers, %d accepted, %d refused, backends %v", c.conns, c.offered, c.accepted, c.refused(), c.met)
}

// users makes n users and lets each connect once, which gives it a session.
func users(t *testing.T, addr string, n int, newUser func() user) []user {
	t.Helper()
	list := make([]user, n)
	for i := range list {
		list[i] = newUser()
		r, err := list[i].Get(t.Context(), addr)
		testkit.Check(t, err)
		if r.Resumed {
			t.Fatalf("a first conn was resumed: %+v", r)
		}
	}
	return list
}

// reconnect lets users drawn at random reconnect n times, one after another.
func reconnect(t *testing.T, addr string, list []user, n int) tally {
	t.Helper()
	var c tally
	for range n {
		r, err := list[rand.IntN(len(list))].Get(t.Context(), addr)
		testkit.Check(t, err)
		c.add(r)
	}
	return c
}

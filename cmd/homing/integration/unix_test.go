package integration

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// HAProxy in front of homing, homing in front of nginx, with nothing but unix sockets and PROXY headers between them: all
// sessions come home, checks and probes do their work, and nginx knows who the client is; over an upgrade too, which
// keeps the socket. The socket's file has the permissions that it was given, and is gone with homing.
func TestIntegrationUnix(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{Proxy: true, Unix: true}, farm.NewECDSA)
	for _, engine := range []string{"auto", "epoll"} {
		t.Run(engine, func(t *testing.T) { throughUnix(t, servers, cert, engine) })
	}
}

func throughUnix(t *testing.T, servers []*farm.Nginx, cert *farm.Certificate, engine string) {
	dir, err := os.MkdirTemp("", "homing-unix-")
	testkit.Check(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "homing.sock")
	var backends []string
	for _, n := range servers {
		backends = append(backends, "unix:"+n.Socket())
	}
	missing := "unix:" + filepath.Join(dir, "nobody.sock")
	l := newLineage(t, append(backends, missing), "--listen", "unix:"+path, "--socket-mode", "600", "--accept-proxy", "unix:",
		"--engine", engine, "--proxy-protocol", "v2", "--check", "tls", "--check-interval", "200ms", "--rise", "1", "--fall", "1")
	l.start(t)
	if info, err := os.Stat(path); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket's file: %v, %v", info, err)
	}
	testkit.Eventually(t, "the check sees who is there", func() bool { return l.up(t, backends[0]) && !l.up(t, missing) })
	testkit.Eventually(t, "the probe knows the ticket keys", func() bool {
		return l.metrics(t)[`homing_ticket_keys{length="16",pool="default"}`] == 3
	})
	front := frontHAProxy(t, cert, "\nlisten l\n\tmode tcp\n\tbind @ADDR@\n\tserver homing unix@"+path+" send-proxy-v2\n")
	again := func(when string) {
		t.Helper()
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c := reconnect(t, front, users(t, front, 6, goUser(cert, version)), 60)
			if c.offered != 60 || c.refused() > 0 {
				t.Errorf("%s: version %x: %v", when, version, &c)
			}
		}
		for range 3 {
			if body, err := ask(t, front, cert); err != nil || !strings.HasSuffix(body, " "+visitor) {
				t.Errorf("%s: nginx answered %q, %v", when, body, err)
			}
		}
	}
	again("at first")
	l.upgradeBySignal(t)
	again("after an upgrade")
	for _, addr := range backends {
		if !l.up(t, addr) {
			t.Errorf("%s is down", addr)
		}
	}
	one, err := http.Get("http://" + l.admin + "/v1/backends/" + url.PathEscape(backends[0])) // the server is ours
	testkit.Check(t, err)
	one.Body.Close()
	if one.StatusCode != http.StatusOK {
		t.Errorf("operators are answered with %s about %s", one.Status, backends[0])
	}
	l.stop(t)
	gone := func() bool { _, err := os.Stat(path); return errors.Is(err, fs.ErrNotExist) }
	testkit.Eventually(t, "the socket's file is gone after the end", gone)
}

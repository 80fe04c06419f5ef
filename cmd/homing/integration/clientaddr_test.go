package integration

import (
	"crypto/tls"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// visitor is the address that clients have in these tests.
const visitor = "127.0.0.77"

// ask makes one request from the visitor's address and returns the answer's body.
func ask(t *testing.T, addr string, cert *farm.Certificate, before ...byte) (string, error) {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(visitor)}, Timeout: 5 * time.Second}
	raw, err := dialer.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		return "", err
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(5 * time.Second)) // an open socket takes any
	if _, err := raw.Write(before); err != nil {
		return "", err
	}
	conn := tls.Client(raw, &tls.Config{ServerName: farm.ServerName, RootCAs: farm.Roots(cert), NextProtos: []string{"http/1.1"}})
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: "+farm.ServerName+"\r\nConnection: close\r\n\r\n"); err != nil {
		return "", err
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return "", err
	}
	_, body, _ := strings.Cut(string(answer), "\r\n\r\n")
	return strings.TrimSpace(body), nil
}

// Backends learn by a PROXY header who the client is: nginx by both versions, with checks and probes that say it too, and
// HAProxy, which also gets the server name. Sessions come home as ever.
func TestIntegrationProxyToBackends(t *testing.T) {
	for _, version := range []string{"v1", "v2"} {
		servers, cert := three(t, farm.NginxConfig{Proxy: true}, farm.NewECDSA)
		h := startHoming(t, addrs(servers), "--proxy-protocol", version, "--check", "tls", "--check-interval", "200ms",
			"--rise", "1", "--fall", "1")
		for range 6 {
			if body, err := ask(t, h.addr, cert); err != nil || !strings.HasSuffix(body, " "+visitor) {
				t.Errorf("%s: nginx answered %q, %v", version, body, err)
			}
		}
		c := reconnect(t, h.addr, users(t, h.addr, 6, goUser(cert, tls.VersionTLS12)), 60)
		if c.refused() > 0 {
			t.Errorf("%s: %v", version, &c)
		}
		for _, addr := range addrs(servers) {
			if !h.up(t, addr) {
				t.Errorf("%s: the check has marked %s down", version, addr)
			}
		}
		if n := h.metrics(t)[`homing_ticket_keys{length="16",pool="default"}`]; n != 3 {
			t.Errorf("%s: %v ticket keys are known", version, n)
		}
	}
	cert := newECDSA(t)
	addr := frontHAProxy(t, cert, `
frontend f
	mode http
	bind @ADDR@ accept-proxy ssl crt @CERT@
	http-request return status 200 content-type text/plain lf-string "%[src] %[fc_pp_authority]"
`)
	h := startHoming(t, []string{addr}, "--proxy-protocol", "v2")
	if body, err := ask(t, h.addr, cert); err != nil || body != visitor+" "+farm.ServerName {
		t.Errorf("HAProxy answered %q, %v", body, err)
	}
}

// frontHAProxy runs a frontend, and returns its address.
func frontHAProxy(t *testing.T, cert *farm.Certificate, conf string) string {
	t.Helper()
	dir, addr := t.TempDir(), testkit.FreeAddr(t)
	pem := filepath.Join(dir, "pem")
	testkit.Check(t, os.WriteFile(pem, append(append([]byte{}, cert.Chain...), cert.Key...), 0o600))
	conf = "defaults\n\ttimeout connect 5s\n\ttimeout client 30s\n\ttimeout server 30s\n" + conf
	conf = strings.NewReplacer("@ADDR@", addr, "@CERT@", pem).Replace(conf)
	path := filepath.Join(dir, "haproxy.cfg")
	testkit.Check(t, os.WriteFile(path, []byte(conf), 0o600))
	haproxy, err := exec.LookPath("haproxy")
	testkit.Check(t, err)
	testkit.Start(t, addr, haproxy, "-db", "-f", path)
	return addr
}

// A PROXY header from a trusted HAProxy in front is believed; one from anybody else, or a malformed one, is refused, and
// no backend hears of it.
func TestIntegrationProxyFromFront(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{Proxy: true}, farm.NewECDSA)
	for _, version := range []string{"send-proxy", "send-proxy-v2"} {
		h := startHoming(t, addrs(servers), "--proxy-protocol", "v2", "--accept-proxy", "127.0.0.0/8")
		front := frontHAProxy(t, cert, "\nlisten l\n\tmode tcp\n\tbind @ADDR@\n\tserver homing "+h.addr+" "+version+"\n")
		for range 4 {
			if body, err := ask(t, front, cert); err != nil || !strings.HasSuffix(body, " "+visitor) {
				t.Errorf("%s: nginx answered %q, %v", version, body, err)
			}
		}
	}
	spoofed := []byte("PROXY TCP4 198.51.100.1 198.51.100.2 1 443\r\n")
	for name, c := range map[string]struct {
		trusted string
		before  []byte
	}{
		"spoofed":   {"192.0.2.0/24", spoofed},
		"malformed": {"127.0.0.0/8", []byte("PROXY TCP4 198.51.100.1\r\n")},
		"missing":   {"127.0.0.0/8", nil},
	} {
		h := startHoming(t, addrs(servers), "--accept-proxy", c.trusted)
		routed := h.metrics(t)[`homing_connects_total`]
		if body, err := ask(t, h.addr, cert, c.before...); err == nil {
			t.Errorf("%s: answered %q", name, body)
		}
		if now := h.metrics(t)[`homing_connects_total`]; now != routed {
			t.Errorf("%s: a backend was asked", name)
		}
	}
}

// What a trusted proxy may say is what HAProxy takes: both are sent the same headers, in one piece and byte by byte, and
// agree, but for families that neither uses: HAProxy 2.6 refuses them, where the specification lets a receiver go by the
// connection's own addresses.
func TestIntegrationProxyAsHAProxy(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{}, farm.NewECDSA)
	h := startHoming(t, addrs(servers), "--accept-proxy", "127.0.0.0/8")
	peer := frontHAProxy(t, cert, "\nlisten l\n\tmode tcp\n\tbind @ADDR@ accept-proxy\n\tserver n "+servers[0].Addr()+"\n")
	v2 := func(command, family byte, parts ...string) []byte {
		block := strings.Join(parts, "")
		return append([]byte("\r\n\r\n\x00\r\nQUIT\n"), append([]byte{command, family, byte(len(block) >> 8), byte(len(block))}, block...)...)
	}
	four, paths := "\xc6\x33\x64\x01\xc6\x33\x64\x02\x12\x34\x01\xbb", strings.Repeat("/", 216)
	summed := v2(0x21, 0x11, four, "\x03\x00\x04\x00\x00\x00\x00", "\x02\x00\x01a")
	beyond := map[string]bool{"no family": true, "paths": true, "datagrams": true}
	sum := crc32.Checksum(summed, crc32.MakeTable(crc32.Castagnoli))
	copy(summed[16+12+3:], []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	for name, said := range map[string][]byte{
		"version 1":              []byte("PROXY TCP4 198.51.100.1 198.51.100.2 4660 443\r\n"),
		"version 1, unknown":     []byte("PROXY UNKNOWN\r\n"),
		"version 1, no ports":    []byte("PROXY TCP4 198.51.100.1 198.51.100.2\r\n"),
		"version 2":              v2(0x21, 0x11, four),
		"local":                  v2(0x20, 0x00),
		"local with addresses":   v2(0x20, 0x11, four),
		"no family":              v2(0x21, 0x00),
		"paths":                  v2(0x21, 0x31, paths),
		"datagrams":              v2(0x21, 0x12, four),
		"command 2":              v2(0x22, 0x11, four),
		"version 3":              v2(0x31, 0x11, four),
		"padding":                v2(0x21, 0x11, four, "\x04\x00\x03abc"),
		"padding of 12 KiB":      v2(0x21, 0x11, four, "\x04\x30\x00", strings.Repeat("a", 12<<10)),
		"value too long":         v2(0x21, 0x11, four, "\x04\x00\x04abc"),
		"half a value":           v2(0x21, 0x11, four, "\x04\x00"),
		"authority of 256 bytes": v2(0x21, 0x11, four, "\x02\x01\x00", strings.Repeat("a", 256)),
		"unique ID of 129 bytes": v2(0x21, 0x11, four, "\x05\x00\x81", strings.Repeat("a", 129)),
		"right checksum":         summed,
		"wrong checksum":         v2(0x21, 0x11, four, "\x03\x00\x04\x00\x00\x00\x01"),
		"checksum of 3 bytes":    v2(0x21, 0x11, four, "\x03\x00\x03\x00\x00\x00"),
	} {
		_, err := ask(t, peer, cert, said...)
		_, ours := ask(t, h.addr, cert, said...)
		if taken := err == nil || beyond[name]; taken != (ours == nil) {
			t.Errorf("%s: HAProxy says %v, homing %v", name, err, ours)
		}
	}
}

// Rooms of the test of transparent sources: clients, the node and a backend, whose way to the clients is the node. The
// node forwards nothing: what comes through has come through homing.
const (
	clientRoom  = "homing-clients"
	nodeRoom    = "homing-node"
	backendRoom = "homing-backend"
	clientAddr  = "198.18.77.1"
	nodeOutside = "198.18.77.126"
	nodeInside  = "198.18.77.254"
	backendAddr = "198.18.77.130"
)

func threeRooms(t *testing.T) {
	t.Helper()
	for _, room := range []string{clientRoom, nodeRoom, backendRoom} {
		testkit.NewRoom(t, room, nil)
	}
	node := testkit.Room(nodeRoom)
	for _, wire := range []struct{ room, addr, end, nodeEnd string }{
		{clientRoom, clientAddr, "c0", nodeOutside}, {backendRoom, backendAddr, "b0", nodeInside},
	} {
		far := testkit.Room(wire.room)
		node.IP(t, "link", "add", wire.end, "type", "veth", "peer", "name", "eth0", "netns", wire.room)
		node.Join(t, wire.end, wire.nodeEnd+"/25")
		far.Join(t, "eth0", wire.addr+"/25")
		far.IP(t, "route", "add", "default", "via", wire.nodeEnd)
	}
	node.Run(t, "sysctl", "-qw", "net.ipv4.ip_forward=0")
}

// A transparent pool's backend sees and logs the clients' own addresses, once the rules that `homing transparent-rules`
// prints are in force; --check says whether they are.
func TestIntegrationTransparent(t *testing.T) {
	needServers(t)
	threeRooms(t)
	cert := newECDSA(t)
	dir := t.TempDir()
	for name, content := range map[string][]byte{"chain.pem": cert.Chain, "key.pem": cert.Key, "nginx.conf": fmt.Appendf(nil, `
daemon off; master_process off; pid %[1]s/pid; error_log stderr;
events {}
http {
	access_log %[1]s/access.log;
	client_body_temp_path %[1]s/body; proxy_temp_path %[1]s/proxy; fastcgi_temp_path %[1]s/fastcgi; uwsgi_temp_path %[1]s/uwsgi; scgi_temp_path %[1]s/scgi;
	server { listen %[2]s:443 ssl; ssl_certificate %[1]s/chain.pem; ssl_certificate_key %[1]s/key.pem; return 200 "$remote_addr\n"; }
}`, dir, backendAddr)} {
		testkit.Check(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	node, backend := testkit.Room(nodeRoom), testkit.Room(backendRoom)
	check := func() (string, error) {
		out, err := node.Command(t.Context(), binary, "transparent-rules", "--check").CombinedOutput()
		return string(out), err
	}
	if out, err := check(); err == nil || strings.Count(out, "missing  ") != 5 {
		t.Errorf("before the rules the check says, %v:\n%s", err, out)
	}
	rules, err := node.Command(t.Context(), binary, "transparent-rules").Output()
	testkit.Check(t, err)
	node.Run(t, "bash", "-ec", string(rules))
	if out, err := check(); err != nil || strings.Contains(out, "missing") {
		t.Errorf("with the rules the check says, %v:\n%s", err, out)
	}
	backend.Start(t, "", "nginx", "-p", dir, "-c", "nginx.conf", "-e", "stderr")
	node.Start(t, "", binary, "run", "--listen", nodeOutside+":443", "--backend", backendAddr+":443",
		"--transparent", "on", "--log-level", "warn")
	seen := ""
	testkit.Eventually(t, "a client is answered", func() bool {
		out, err := testkit.Room(clientRoom).Command(t.Context(), "curl", "-sk", "--max-time", "2", "https://"+nodeOutside+"/").CombinedOutput()
		seen = string(out)
		return err == nil
	})
	if addr, err := netip.ParseAddr(strings.TrimSpace(seen)); err != nil || addr.String() != clientAddr {
		t.Errorf("the backend saw %q, want %s", seen, clientAddr)
	}
	log, err := os.ReadFile(filepath.Join(dir, "access.log"))
	if err != nil || !strings.HasPrefix(string(log), clientAddr+" ") {
		t.Errorf("nginx's access log: %q, %v", log, err)
	}
}

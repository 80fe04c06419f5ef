//go:build record

package tlsparse

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	utls "github.com/refraction-networking/utls"

	"homing/bench/testkit"
	"homing/bench/tlsserver"
)

const recordName = "www.example.com"

// TestRecord makes testdata/hellos anew: real clients talk to openssl s_server through a tap, once or twice, and what they
// send first is written down. It needs openssl, curl and gnutls-cli.
func TestRecord(t *testing.T) {
	r := &recorder{TB: t, dir: t.TempDir(), origins: map[string]string{}}
	cert, err := tlsserver.New(tlsserver.ECDSA, recordName)
	testkit.Check(t, err)
	r.cert = r.path("server.pem")
	testkit.Check(t, os.WriteFile(r.cert, slices.Concat(cert.Chain, cert.Key), 0o600))
	r.openssl()
	r.curl()
	r.gnutls()
	r.golang()
	r.browsers()
	r.readme()
}

const readmeHead = `# Recorded hellos

hellos/NAME.hex is what a real client sent first, in hex, records and all; a name
that ends in -second is what it sent after a HelloRetryRequest. hellos.txt is what
tlsparse reads in them.

Record the hellos anew (needs openssl, curl and gnutls-cli), then rewrite what is
read in them, and read the diff:

    go test -tags record -run TestRecord -count=1 ./tlsparse
    go test ./tlsparse -run TestGolden -update

The names of browsers stand for the shapes that utls has of them. They end in
-psk or -ticket on a second connection that offers to resume, and -fresh else.
Not there, for want of the client: NSS, JSSE, Schannel, Apple.

The handshakes of crypto/tls/testdata are read from the Go installation.

`

// readme writes where each hello comes from.
func (r *recorder) readme() {
	var b strings.Builder
	b.WriteString(readmeHead)
	for _, name := range slices.Sorted(maps.Keys(r.origins)) {
		fmt.Fprintf(&b, "- %s: %s\n", name, r.origins[name])
	}
	r.check(os.WriteFile(filepath.Join("testdata", "README.md"), []byte(b.String()), 0o644))
}

// A recorder is the test, with where the files and the certificate of the server are.
type recorder struct {
	testing.TB
	dir, cert string
	origins   map[string]string
}

func (r *recorder) path(name string) string { return filepath.Join(r.dir, name) }

func (r *recorder) check(err error) { testkit.Check(r, err) }

// save writes the first flight of connection i down, or for a name that ends in
// -second what came after the server's first answer.
func (r *recorder) save(tp *tap, i int, name, origin string) {
	tp.mu.Lock()
	defer tp.mu.Unlock()
	if i >= len(tp.conns) {
		r.Fatalf("%s: %d connections", name, len(tp.conns))
	}
	stream := tp.conns[i].before.Bytes()
	var hello Client
	if hello.Reset(0); strings.HasSuffix(name, "-second") {
		stream = tp.conns[i].after.Bytes()
		hello.ResetSecond(0)
	}
	if status := hello.Next(stream); status != Got {
		r.Fatalf("%s: %v", name, status)
	}
	r.origins[name] = origin
	var out strings.Builder
	for b := stream[:hello.End()]; len(b) > 0; {
		n := min(32, len(b))
		fmt.Fprintln(&out, hex.EncodeToString(b[:n]))
		b = b[n:]
	}
	r.check(os.WriteFile(filepath.Join("testdata", "hellos", name+".hex"), []byte(out.String()), 0o644))
}

// run lets a client talk; what it thinks of that is of no interest, but to those who watch.
func (r *recorder) run(stdin, name string, args ...string) {
	cmd := exec.CommandContext(r.Context(), name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		r.Logf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// version returns the first line of a program's output.
func (r *recorder) version(name string, args ...string) string {
	out, err := exec.CommandContext(r.Context(), name, args...).Output()
	r.check(err)
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.Join(strings.Fields(line)[:2], " ")
}

const getRequest = "GET / HTTP/1.0\r\n\r\n"

func (r *recorder) openssl() {
	version := r.version("openssl", "version") + " s_client"
	client := func(tp *tap, args ...string) {
		if !slices.Contains(args, "-noservername") {
			args = append(args, "-servername", recordName)
		}
		r.run(getRequest, "openssl", append([]string{"s_client", "-connect", tp.addr, "-ign_eof"}, args...)...)
	}
	twice := func(name, what string, server, args []string) {
		tp := r.serve(server...)
		session := r.path(name)
		client(tp, append(args, "-sess_out", session)...)
		client(tp, append(args, "-sess_in", session)...)
		r.save(tp, 1, name, strings.Join(append([]string{version}, args...), " ")+", second connection: "+what)
	}
	tp := r.serve("-cipher", "ALL@SECLEVEL=0")
	client(tp)
	r.save(tp, 0, "openssl-fresh", version)
	client(tp, "-tls1_2")
	r.save(tp, 1, "openssl-tls12-fresh", version+" -tls1_2")
	client(tp, "-tls1", "-cipher", "ALL@SECLEVEL=0")
	r.save(tp, 2, "openssl-tls10-fresh", version+" -tls1 -cipher ALL@SECLEVEL=0")
	client(tp, "-noservername", "-alpn", "h2,http/1.1")
	r.save(tp, 3, "openssl-noname", version+" -noservername -alpn h2,http/1.1")
	client(tp, "-max_send_frag", "512", "-split_send_frag", "512", "-alpn", strings.Repeat("a-long-protocol-name,", 40)+"h2")
	r.save(tp, 4, "openssl-fragmented", version+" -max_send_frag 512 -alpn (900 bytes): three records")

	twice("openssl-tls13-psk", "PSK", nil, nil)
	twice("openssl-tls12-ticket", "ticket", nil, []string{"-tls1_2"})
	twice("openssl-tls12-id", "session ID", []string{"-no_ticket"}, []string{"-tls1_2"})

	tp = r.serve("-max_early_data", "16384", "-no_anti_replay")
	session, early := r.path("early"), r.path("early.txt")
	r.check(os.WriteFile(early, []byte(getRequest), 0o600))
	client(tp, "-sess_out", session)
	client(tp, "-sess_in", session, "-early_data", early)
	r.save(tp, 1, "openssl-tls13-early", version+" -early_data, second connection: PSK and early data")

	tp = r.serve("-groups", "P-384")
	client(tp, "-groups", "X25519:P-384", "-sess_out", session)
	r.save(tp, 0, "openssl-retried", version+" -groups X25519:P-384, to a server of P-384")
	r.save(tp, 0, "openssl-retried-second", "the same connection after HelloRetryRequest: ChangeCipherSpec, second hello")
	client(tp, "-groups", "X25519:P-384", "-sess_in", session)
	r.save(tp, 1, "openssl-retried-psk-second", version+" -groups X25519:P-384, with PSK, after HelloRetryRequest")
}

func (r *recorder) curl() {
	version := r.version("curl", "--version")
	twice := func(server, args []string) *tap {
		tp := r.serve(server...)
		_, port, _ := net.SplitHostPort(tp.addr)
		url := "https://" + recordName + ":" + port + "/"
		args = append([]string{"-sk", "--resolve", recordName + ":" + port + ":127.0.0.1"}, args...)
		r.run("", "curl", append(args, url, url)...)
		return tp
	}
	tp := twice(nil, nil)
	r.save(tp, 0, "curl-fresh", version)
	r.save(tp, 1, "curl-tls13-psk", version+", second connection: PSK")
	tp = twice([]string{"-tls1_2"}, []string{"--tls-max", "1.2"})
	r.save(tp, 0, "curl-tls12-fresh", version+" --tls-max 1.2: without session_ticket")
	r.save(tp, 1, "curl-tls12-id", version+" --tls-max 1.2, second connection: session ID")
}

func (r *recorder) gnutls() {
	version := r.version("gnutls-cli", "--version")
	twice := func(server, args []string) *tap {
		tp := r.serve(server...)
		host, port, _ := net.SplitHostPort(tp.addr)
		args = append([]string{"-r", "--waitresumption", "--insecure", "--sni-hostname", recordName, "-p", port}, args...)
		r.run(getRequest, "gnutls-cli", append(args, host)...)
		return tp
	}
	tp := twice(nil, nil)
	r.save(tp, 0, "gnutls-fresh", version)
	r.save(tp, 1, "gnutls-tls13-psk", version+" -r, second connection: PSK")
	tls12 := []string{"--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.2"}
	tp = twice(nil, tls12)
	r.save(tp, 0, "gnutls-tls12-fresh", version+" TLS 1.2 only")
	r.save(tp, 1, "gnutls-tls12-ticket", version+" -r TLS 1.2 only, second connection: ticket")
	tp = twice([]string{"-no_ticket"}, tls12)
	r.save(tp, 1, "gnutls-tls12-id", version+" -r TLS 1.2 only, second connection: session ID")
}

func (r *recorder) golang() {
	twice := func(config *tls.Config) *tap {
		tp := r.serve()
		for range 2 {
			c, err := tls.Dial("tcp", tp.addr, config)
			r.check(err)
			_, err = io.WriteString(c, getRequest)
			r.check(err)
			_, err = io.Copy(io.Discard, c)
			r.check(err)
			c.Close()
		}
		return tp
	}
	config := &tls.Config{
		ServerName: recordName, InsecureSkipVerify: true, // the certificate is made up
		NextProtos: []string{"h2", "http/1.1"}, ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}
	tp := twice(config)
	r.save(tp, 0, "go-fresh", runtime.Version()+" crypto/tls")
	r.save(tp, 1, "go-tls13-psk", runtime.Version()+" crypto/tls, second connection: PSK")
	config = config.Clone()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	config.MaxVersion = tls.VersionTLS12
	tp = twice(config)
	r.save(tp, 0, "go-tls12-fresh", runtime.Version()+" crypto/tls, MaxVersion TLS 1.2")
	r.save(tp, 1, "go-tls12-ticket", runtime.Version()+" crypto/tls, MaxVersion TLS 1.2, second connection: ticket")
}

// browsers records the shapes that utls has of them: its own TLS stack, but
// hellos like theirs.
func (r *recorder) browsers() {
	for _, b := range []struct {
		name   string
		id     utls.ClientHelloID
		second string // what the second connection offers
		tls12  bool
	}{
		{"chrome-58", utls.HelloChrome_58, "ticket", true},
		{"chrome-100", utls.HelloChrome_100_PSK, "psk", false},
		{"chrome-112", utls.HelloChrome_112_PSK_Shuf, "psk", false},
		{"chrome-114", utls.HelloChrome_114_Padding_PSK_Shuf, "psk", false},
		{"chrome-115-pq", utls.HelloChrome_115_PQ_PSK, "psk", false},
		{"chrome-120", utls.HelloChrome_120, "", false},
		{"chrome-133", utls.HelloChrome_133, "", false},
		{"firefox-105", utls.HelloFirefox_105, "", false},
		{"firefox-120", utls.HelloFirefox_120, "", false},
		{"safari-16", utls.HelloSafari_16_0, "", false},
		{"ios-14", utls.HelloIOS_14, "", false},
		{"edge-106", utls.HelloEdge_106, "", false},
	} {
		var args []string
		if b.tls12 {
			args = []string{"-tls1_2"}
		}
		tp := r.serve(args...)
		config := &utls.Config{
			ServerName: recordName, InsecureSkipVerify: true, OmitEmptyPsk: true,
			ClientSessionCache: utls.NewLRUClientSessionCache(8),
		}
		for range 2 {
			raw, err := net.Dial("tcp", tp.addr)
			r.check(err)
			c := utls.UClient(raw, config, b.id)
			if err := c.Handshake(); err != nil {
				r.Fatalf("%s: %v", b.name, err)
			}
			_, err = io.WriteString(c, getRequest)
			r.check(err)
			_, _ = io.Copy(io.Discard, c)
			c.Close()
		}
		r.save(tp, 0, b.name+"-fresh", "utls v1.8.2 "+b.id.Str())
		if b.second != "" {
			r.save(tp, 1, b.name+"-"+b.second, "utls v1.8.2 "+b.id.Str()+", second connection: "+b.second)
		}
	}
}

// A tap passes connections on to a server and keeps what the clients send: sent
// up to the server's first byte, then after it.
type tap struct {
	addr  string
	mu    sync.Mutex
	conns []*tapped
}

type tapped struct {
	answered      bool
	before, after bytes.Buffer
}

// serve starts an s_server with a tap in front of it.
func (r *recorder) serve(args ...string) *tap {
	backend := testkit.FreeAddr(r)
	testkit.Start(r, backend, "openssl", append([]string{"s_server", "-accept", backend, "-cert", r.cert, "-www", "-quiet"}, args...)...)
	tp := &tap{}
	tp.addr = testkit.Serve(r, func(client net.Conn) {
		server, err := net.Dial("tcp", backend)
		if err != nil {
			return
		}
		c := new(tapped)
		tp.mu.Lock()
		tp.conns = append(tp.conns, c)
		tp.mu.Unlock()
		go tp.pass(server, client, c, false)
		tp.pass(client, server, c, true)
	})
	return tp
}

func (tp *tap) pass(dst, src net.Conn, c *tapped, fromServer bool) {
	defer dst.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		tp.mu.Lock()
		switch {
		case fromServer:
			c.answered = c.answered || n > 0
		case c.answered:
			c.after.Write(buf[:n])
		default:
			c.before.Write(buf[:n])
		}
		tp.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := dst.Write(buf[:n]); err != nil {
			return
		}
	}
}

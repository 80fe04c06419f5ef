package bench

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// patience bounds waits that a test expects to end.
const patience = 20 * time.Second

// site is a TLS server of the standard library: tickets, PSK, no session IDs, no early data.
type site struct {
	addr, roots string
	server      *http.Server
}

const siteName = "site.homing.test"

// newCertificate returns a certificate for siteName, and the same in PEM.
func newCertificate(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: siteName}, DNSNames: []string{siteName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// newSite starts a server that names itself a, and serves ranges of zeros under /data.
func newSite(t *testing.T, change func(*tls.Config), handler http.HandlerFunc, tune ...func(*http.Server)) *site {
	t.Helper()
	cert, roots := newCertificate(t)
	config := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}
	if change != nil {
		change(config)
	}
	if handler == nil {
		zeros := make([]byte, 1<<20)
		handler = func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Backend", "a")
			if r.URL.Path == "/data" {
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(zeros))
				return
			}
			fmt.Fprintln(w, "a")
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: handler, TLSConfig: config, ErrorLog: log.New(io.Discard, "", 0)}
	for _, f := range tune {
		f(s)
	}
	go func() { _ = s.ServeTLS(l, "", "") }()
	t.Cleanup(func() { _ = s.Close() })
	return &site{addr: l.Addr().String(), roots: roots, server: s}
}

// plan is a short run to the site.
func (s *site) plan(groups ...GroupPlan) Plan {
	return Plan{
		Scenario: Resume, Targets: []string{s.addr}, Names: []string{siteName}, Roots: s.roots, Groups: groups,
		Clients: 10, Rate: 200, WarmUp: 200 * time.Millisecond, Duration: 500 * time.Millisecond, Timeout: patience,
	}
}

func mustRun(t *testing.T, p Plan) *Result {
	t.Helper()
	res, err := Run(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	checkSums(t, res)
	return res
}

// checkSums checks what holds of every result.
func checkSums(t *testing.T, res *Result) {
	t.Helper()
	for i := range res.Groups {
		g := &res.Groups[i]
		for name, tally := range map[string]*Tally{"recorded": &g.Tally, "total": &g.Total} {
			if tally.Attempts != tally.Done+tally.Failed() {
				t.Errorf("%s, %s: %d attempts, %d done, %d failed", g.Name, name, tally.Attempts, tally.Done, tally.Failed())
			}
			if tally.Accepted+tally.Refused > tally.Offered || tally.Shaken < tally.Done {
				t.Errorf("%s, %s: %+v", g.Name, name, *tally)
			}
		}
	}
	if t.Failed() {
		var b strings.Builder
		_ = res.WriteText(&b)
		t.Log(b.String())
	}
}

// descriptors counts those that are open.
func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

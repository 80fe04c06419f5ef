package integration

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"homing/bench/farm"
	"homing/bench/proc"
	"homing/bench/testkit"
)

// startStunnel starts a stunnel without tickets: its TLS 1.3 identities are keys of its session cache. It is in front of
// a plain server that says its name.
func startStunnel(t *testing.T, name string, cert *farm.Certificate) string {
	t.Helper()
	path, err := proc.Find("stunnel4")
	if err != nil {
		t.Fatal(&farm.MissingError{Program: "stunnel4", Package: "stunnel4"})
	}
	plain := testkit.Serve(t, func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			fmt.Fprintf(conn, "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n%s stunnel\n", name)
		}
	})
	dir, addr := t.TempDir(), testkit.FreeAddr(t)
	pem, conf := filepath.Join(dir, "both.pem"), filepath.Join(dir, "stunnel.conf")
	text := fmt.Sprintf("foreground = yes\npid =\nsyslog = no\n[tls]\naccept = %s\nconnect = %s\ncert = %s\noptions = NO_TICKET\n", addr, plain, pem)
	for file, content := range map[string][]byte{pem: append(append([]byte{}, cert.Key...), cert.Chain...), conf: []byte(text)} {
		testkit.Check(t, os.WriteFile(file, content, 0o600))
	}
	testkit.Start(t, addr, path, conf)
	return addr
}

// A client is never worse off than with its issuer alone, however often that refuses: where no other backend takes what
// it refuses, refusals say nothing against it as the client's home.
func TestIntegrationFlakyIssuer(t *testing.T) {
	cert := newECDSA(t)
	var servers []string
	for _, name := range []string{"a", "b", "c"} {
		servers = append(servers, startStunnel(t, name, cert))
	}
	const conns = 120
	alone := reconnect(t, servers[0], users(t, servers[0], 1, stayer(cert)), conns)
	h := startHoming(t, servers, "--probe", "off")
	behind := reconnect(t, h.addr, users(t, h.addr, 1, stayer(cert)), conns)
	t.Logf("alone: %v; behind homing: %v", &alone, &behind)
	if alone.accepted == 0 || alone.refused() == 0 {
		t.Fatalf("stunnel is no issuer that refuses now and then: %v", &alone)
	}
	if least := alone.accepted * 9 / 10; behind.accepted < least {
		t.Errorf("%d accepted, want %d", behind.accepted, least)
	}
}

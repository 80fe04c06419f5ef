//go:build linux

package main

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"homing/bench/diagnose"
	"homing/bench/testkit"
	"homing/bench/tlsserver"
	"homing/cmd/internal/usage"
)

// tlsSite starts servers that share nothing but the certificate and take turns behind one address. It returns the address
// and a file with the certificate.
func tlsSite(t *testing.T, servers int) (addr, ca string) {
	t.Helper()
	cert, err := tlsserver.New(tlsserver.ECDSA, "www.example.org")
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(t.TempDir(), "ca.pem")
	testkit.Check(t, os.WriteFile(ca, cert.Chain, 0o600))
	var configs []*tls.Config
	for range servers {
		configs = append(configs, &tls.Config{Certificates: []tls.Certificate{testkit.Pair(t, cert)}})
	}
	var turn atomic.Int32
	return testkit.Serve(t, func(raw net.Conn) {
		conn := tls.Server(raw, configs[int(turn.Add(1))%servers])
		defer conn.Close()
		testkit.Silence(conn)
	}), ca
}

// runCommand runs a command line and returns what it printed.
func runCommand(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = command(t.Context(), args, &out, &errOut)
	return code, out.String(), errOut.String()
}

func TestDiagnoseExitCodes(t *testing.T) {
	well, ca := tlsSite(t, 1)
	apart, apartCA := tlsSite(t, 2)
	for _, tt := range []struct {
		what           string
		args           []string
		code           int
		stdout, stderr string // in it; empty: nothing printed
	}{
		{"all is well", []string{"--sni", "www.example.org", "--ca", ca, well}, usage.ExitOK, "\nNo resumption is lost, as far as one client address shows.\n", ""},
		{"two apart", []string{"--sni", "www.example.org", "--ca", apartCA, apart}, usage.ExitFail, "\nSession resumption (tickets): No (tickets issued but not accepted)\n", ""},
		{"one of two addresses down", []string{"--sni", "www.example.org", "--ca", ca, well, "127.0.0.1:1"}, usage.ExitUsage, "\nNot examined\n  127.0.0.1:1: Cannot connect: connection refused.\n", ""},
		{"the only one down", []string{"127.0.0.1:1"}, usage.ExitUsage, "", "homing-bench: 127.0.0.1:1: cannot connect: connection refused\n"},
		{"another certificate", []string{"--sni", "other.test", "--ca", ca, well}, usage.ExitUsage, "", "the certificate is for www.example.org, not for other.test: give the name with --sni, or --insecure"},
		{"any certificate", []string{"--insecure", well}, usage.ExitOK, "No resumption is lost", ""},
		{"from two addresses", []string{"--sni", "www.example.org", "--ca", ca, "--source", "127.0.0.1,127.0.0.2", well}, usage.ExitOK, "\nNo resumption is lost.\n", ""},
		{"sources of two families", []string{"--source", "127.0.0.1,::1", well}, usage.ExitUsage, "", "--source ::1: give IP addresses of this machine, of one family"},
		{"a source that is a name", []string{"--source", "localhost", well}, usage.ExitUsage, "", "--source localhost: give IP addresses of this machine, of one family"},
		{"no target", nil, usage.ExitUsage, "", "homing-bench: diagnose needs a target: homing-bench diagnose HOST:PORT\n"},
		{"a URL", []string{"https://www.example.org/"}, usage.ExitUsage, "", `"https://www.example.org/" is not HOST:PORT`},
		{"no tries", []string{"--tries", "0", well}, usage.ExitUsage, "", "--tries 0: 1 to 100 are possible"},
		{"no time", []string{"--timeout", "0s", well}, usage.ExitUsage, "", "--timeout 0s: give the time for one conn"},
		{"no file", []string{"--ca", "/nonexistent", well}, usage.ExitUsage, "", "--ca: open /nonexistent: no such file"},
		{"no certificate in it", []string{"--ca", "/dev/null", well}, usage.ExitUsage, "", "--ca /dev/null: no certificate in PEM in it"},
	} {
		code, stdout, stderr := runCommand(t, append([]string{"diagnose"}, tt.args...)...)
		if code != tt.code || !strings.Contains(stdout, tt.stdout) || !strings.Contains(stderr, tt.stderr) ||
			(tt.stdout == "") != (stdout == "") || (tt.stderr == "") != (stderr == "") || strings.Count(stderr, "\n") > 1 {
			t.Errorf("%s: exit code %d, want %d\nstdout: %s\nstderr: %s", tt.what, code, tt.code, stdout, stderr)
		}
	}
}

func TestDiagnoseJSON(t *testing.T) {
	addr, ca := tlsSite(t, 2)
	for _, args := range [][]string{{"--ca", ca, "--sni", "www.example.org", "--tries", "7", addr}, {"127.0.0.1:1"}} {
		code, stdout, _ := runCommand(t, append([]string{"diagnose", "--json"}, args...)...)
		var r diagnose.Report
		dec := json.NewDecoder(strings.NewReader(stdout))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&r); err != nil || r.Format != diagnose.FormatVersion || len(r.Addresses) != 1 {
			t.Fatalf("%v: %s", err, stdout)
		}
		if r.Lost != (code == usage.ExitFail) || r.Incomplete != (code == usage.ExitUsage) || r.Lost && r.Addresses[0].PSK.Offered != 7 {
			t.Errorf("exit code %d: %s", code, stdout)
		}
	}
}

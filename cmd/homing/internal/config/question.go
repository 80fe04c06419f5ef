package config

import (
	"crypto/x509"
	"fmt"
	"os"

	"homing/balancer/health"
	"homing/cmd/homing/internal/value"
)

// Question is what a check asks of a backend, at a node or at an agent.
type Question struct {
	Kind         health.Kind
	Port         int // 0: the backend's own
	ServerName   string
	ALPN         []string
	CAFile       string // "": no certificate is looked at
	Method, Path string
	Expect       []health.StatusRange // empty: 200 to 399
}

// DefaultQuestion is whether it accepts a conn.
func DefaultQuestion() Question { return Question{Method: "GET", Path: "/"} }

// QuestionRows is what nodes and agents have in common, bound to q.
func QuestionRows(q *Question) []Row {
	return []Row{
		{Flag: "check", Key: "checks.kind", Where: InPools, Value: CheckKinds(&q.Kind), Doc: "tcp: a backend accepts a conn; tls: it completes a handshake; https: it answers a request"},
		{Flag: "check-port", Key: "checks.port", Where: InPools, Value: value.Auto{Int: value.Int{P: &q.Port, Min: 1, Max: 65535}}, Doc: "check this port; auto: the backend's own"},
		{Flag: "check-server-name", Key: "checks.server_name", Where: InPools, Value: serverName(&q.ServerName), Doc: "the name that a check by tls or https asks for", Example: "www.example.org"},
		{Flag: "check-alpn", Key: "checks.alpn", Where: InPools, Value: value.Several[string]{P: &q.ALPN, Parse: parseALPN, Print: value.AsIs, Kind: "NAME"}, Doc: "a protocol that it offers, one of which the backend has to speak; repeatable; not given: none", Example: "h2"},
		{Flag: "check-ca-file", Key: "checks.ca_file", Where: InPools, Value: value.Text{P: &q.CAFile, Check: value.CheckPath, Kind: "FILE"}, Doc: "the backend's certificate has to lead up to one of these, PEM; not given: none is looked at", Example: "/etc/homing/ca.pem"},
		{Flag: "check-method", Key: "checks.method", Where: InPools, Value: value.Text{P: &q.Method, Check: checkMethod, Kind: "WORD"}, Doc: "of the request of a check by https", Example: "HEAD"},
		{Flag: "check-path", Key: "checks.path", Where: InPools, Value: value.Text{P: &q.Path, Check: checkURLPath, Kind: "PATH"}, Doc: "of that request", Example: "/health"},
		{Flag: "check-expect", Key: "checks.expect", Where: InPools, Value: value.Several[health.StatusRange]{P: &q.Expect, Parse: parseStatus, Print: health.StatusRange.String, Kind: "STATUS"}, Doc: "a status, or a range such as 200-299, that its answer may have; repeatable; not given: 200-399", Example: "200-299"},
	}
}

// CheckKinds is a kind by its word.
func CheckKinds(p *health.Kind) value.Enum[health.Kind] {
	return value.Enum[health.Kind]{P: p, Choices: []value.Choice[health.Kind]{
		value.Named(health.CheckTCP), value.Named(health.CheckTLS), value.Named(health.CheckHTTPS),
	}}
}

// contradiction is what no single setting can see; "" for none.
func (q *Question) contradiction() string {
	if q.CAFile != "" && q.ServerName == "" {
		return "--check-ca-file needs --check-server-name: a certificate is good for a name"
	}
	return ""
}

// Check is the check that asks it. It reads the file of certificates.
func (q *Question) Check() (health.Check, error) {
	check := health.Check{
		Kind: q.Kind, Port: uint16(q.Port), ServerName: q.ServerName, ALPN: q.ALPN, Method: q.Method, Path: q.Path, Expect: q.Expect,
	}
	if text := q.contradiction(); text != "" {
		return check, fmt.Errorf("%s", text)
	}
	if q.CAFile == "" || q.Kind == health.CheckTCP {
		return check, nil
	}
	pem, err := os.ReadFile(q.CAFile)
	if err != nil {
		return check, fmt.Errorf("--check-ca-file: %w", err)
	}
	check.Roots = x509.NewCertPool()
	if !check.Roots.AppendCertsFromPEM(pem) {
		return check, fmt.Errorf("--check-ca-file %s: there is no certificate in it: give PEM, which begins with -----BEGIN CERTIFICATE-----", q.CAFile)
	}
	return check, nil
}

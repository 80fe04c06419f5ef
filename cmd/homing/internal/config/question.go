package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"homing/balancer/health"
	"homing/cmd/homing/internal/value"
)

// Checks is how backends are looked at.
type Checks struct {
	Disabled          bool
	Interval, Timeout time.Duration
	Rise, Fall        int

	Question
}

// Question is what a check asks of a backend, at a node or at an agent.
type Question struct {
	health.Check        // its Roots are those of CAFile
	CAFile       string // "": no certificate is looked at
}

// DefaultQuestion is whether it accepts a conn.
func DefaultQuestion() Question {
	return Question{Check: health.Check{Method: health.DefaultMethod, Path: health.DefaultPath}}
}

// QuestionRows is what nodes and agents have in common, bound to q.
func QuestionRows(q *Question) []Row {
	return []Row{
		pools("check", "checks.kind", value.Words(&q.Kind, health.CheckTCP, health.CheckTLS, health.CheckHTTPS),
			"tcp: a backend accepts a conn; tls: it completes a handshake; https: it answers a request"),
		pools("check-port", "checks.port", value.Port{P: &q.Port, Min: 1, Max: 65535, Zero: "auto"},
			"check this port; auto: the backend's own"),
		pools("check-server-name", "checks.server_name", serverName{value.Text{P: &q.ServerName, Kind: "NAME"}},
			"the name that a check by tls or https asks for").like("www.example.org"),
		pools("check-alpn", "checks.alpn", value.Several[string]{P: &q.ALPN, Parse: parseALPN, Kind: "NAME"},
			"a protocol that it offers, one of which the backend has to speak; repeatable; not given: none").like("h2"),
		pools("check-ca-file", "checks.ca_file", value.Path(&q.CAFile, "FILE"),
			"the backend's certificate has to lead up to one of these, PEM; not given: none is looked at").
			like("/etc/homing/ca.pem"),
		pools("check-method", "checks.method", value.Text{P: &q.Method, Check: checkMethod, Kind: "WORD"},
			"of the request of a check by https").like("HEAD"),
		pools("check-path", "checks.path", value.Text{P: &q.Path, Check: checkURLPath, Kind: "PATH"},
			"of that request").like("/health"),
		pools("check-expect", "checks.expect",
			value.Several[health.StatusRange]{P: &q.Expect, Parse: parseStatus, Kind: "STATUS"},
			"a status, or a range such as 200-299, that its answer may have; repeatable; not given: 200-399").like("200-299"),
	}
}

// serverName is a host name as TLS sends it.
type serverName struct{ value.Text }

// Set implements value.Value.
func (v serverName) Set(s string) error {
	name, err := value.ParseServerName(s)
	if err == nil {
		*v.P = name
	}
	return err
}

// parseALPN reads the name of a protocol (RFC 7301, section 3.1).
func parseALPN(text string) (string, error) {
	if text == "" || len(text) > 255 || value.CheckPrintable(text) != nil {
		return "", errors.New("not the name of a protocol, such as h2 or http/1.1")
	}
	return text, nil
}

// checkMethod checks a method (RFC 9110, section 9.1), which is a token.
func checkMethod(s string) error {
	if s == "" || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
		return errors.New("not a method of HTTP: write it such as GET or HEAD")
	}
	return nil
}

func checkURLPath(s string) error {
	if !strings.HasPrefix(s, "/") || strings.ContainsAny(s, " #") {
		return errors.New("not a path: write it such as /health")
	}
	return value.CheckPrintable(s)
}

func parseStatus(s string) (health.StatusRange, error) {
	status, err := health.ParseStatusRange(s)
	if err != nil {
		return status, errors.New("not a status of HTTP: write it such as 200 or 200-399")
	}
	return status, nil
}

// contradiction is what no single setting can see; "" for none.
func (q *Question) contradiction() string {
	if q.CAFile != "" && q.ServerName == "" {
		return "--check-ca-file needs --check-server-name: a certificate is good for a name"
	}
	return ""
}

// Config is the configuration of what asks it. It reads the file of certificates.
func (k *Checks) Config(log *slog.Logger) (health.Config, error) {
	cfg := health.Config{
		Interval: k.Interval, Timeout: k.Timeout, Rise: k.Rise, Fall: k.Fall, Check: k.Check, Log: log,
	}
	if text := k.contradiction(); text != "" {
		return cfg, errors.New(text)
	}
	if k.CAFile == "" || k.Kind == health.CheckTCP {
		return cfg, nil
	}
	pem, err := os.ReadFile(k.CAFile)
	if err != nil {
		return cfg, fmt.Errorf("--check-ca-file: %w", err)
	}
	cfg.Check.Roots = x509.NewCertPool()
	if !cfg.Check.Roots.AppendCertsFromPEM(pem) {
		return cfg, fmt.Errorf("--check-ca-file %s: there is no certificate in it: "+
			"give PEM, which begins with -----BEGIN CERTIFICATE-----", k.CAFile)
	}
	return cfg, nil
}

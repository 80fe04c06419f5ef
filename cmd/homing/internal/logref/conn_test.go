package logref

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"homing/balancer"
	"homing/balancer/affinity"
	"homing/balancer/netaddr"
)

func TestLogConn(t *testing.T) {
	record := &balancer.ConnRecord{
		Start:     time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC),
		Client:    netip.MustParseAddrPort("192.0.2.9:40000"),
		Backend:   netaddr.MustParse("[2001:db8::7]:443"),
		Listener:  "public",
		Pool:      "default",
		SNI:       "a.example\n\" backend=forged",
		Offer:     affinity.OfferPSK,
		Source:    affinity.SourceTicketKey,
		Verdict:   balancer.VerdictAccepted,
		BytesIn:   517,
		BytesOut:  4096,
		HelloTime: 1500 * time.Microsecond, ConnectTime: 2 * time.Millisecond, AnswerTime: 250 * time.Microsecond, Total: 3 * time.Second,
		Tries:       2,
		ConnectErr:  "permission denied",
		Termination: balancer.Termination{Cause: balancer.CauseNormal, Phase: balancer.PhaseEnd},
	}
	var out bytes.Buffer
	LogConn(timeless(&out), record)
	want := `level=INFO msg=conn start=2026-11-22T12:00:00.000Z client=192.0.2.9:40000 listener=public pool=default ` +
		`sni="a.example\n\" backend=forged" backend=[2001:db8::7]:443 hello=tls offer=psk source=ticket_key verdict=accepted lost=none ` +
		`bytes_in=517 bytes_out=4096 hello_seconds=0.0015 queue_seconds=0 connect_seconds=0.002 answer_seconds=0.00025 total_seconds=3 ` +
		"tries=2 connect_error=\"permission denied\" refused=none termination=--\n"
	if out.String() != want {
		t.Errorf("got\n%s, want\n%s", &out, want)
	}

	out.Reset()
	record.Backend = netaddr.Addr{}
	LogConn(timeless(&out), record)
	if !strings.Contains(out.String(), ` backend="" `) {
		t.Errorf("without a backend: %s", &out)
	}

	out.Reset()
	record.Client, record.Backend = netip.AddrPort{}, netaddr.Unix("/run/app.sock")
	LogConn(timeless(&out), record)
	if !strings.Contains(out.String(), " client=unix: ") || !strings.Contains(out.String(), " backend=unix:/run/app.sock ") {
		t.Errorf("from one unix socket to another: %s", &out)
	}
}

// timeless is the text log without its time.
func timeless(out *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

package health

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"homing/balancer/netaddr"
	"homing/balancer/pool"
	"homing/balancer/proxyheader"
)

// Kind says what a check asks of a backend. Each asks what the one before it asks, and more.
type Kind uint8

// The kinds.
const (
	CheckTCP   Kind = iota // it accepts a connection
	CheckTLS               // it completes a TLS handshake
	CheckHTTPS             // it answers a request inside TLS with a status that is wanted
	NumKinds
)

func (k Kind) String() string { return [...]string{"tcp", "tls", "https"}[k] }

// Check is one kind of check with what it needs. The zero value is a TCP check of the backend's own port.
type Check struct {
	Kind Kind
	Port uint16 // 0: the port of the backend; a unix socket has no other

	// ServerName is the SNI of a TLS handshake (RFC 6066, Section 3), and the Host of a request; "": none, and the
	// backend's address as Host, localhost for a unix socket.
	ServerName string
	// ALPN is offered if not empty (RFC 7301). A backend that selects none of it fails.
	ALPN []string
	// Roots, if not nil, are what the backend's certificate must lead up to, for ServerName and valid now. Without them
	// no certificate is looked at: it is for the clients to judge.
	Roots *x509.CertPool

	// Method and Path of the request. Defaults DefaultMethod and DefaultPath.
	Method, Path string
	// Expect are the statuses that are wanted. Default: DefaultExpect alone.
	Expect []StatusRange
}

// StatusRange is some HTTP statuses, both ends included.
type StatusRange struct{ From, To int }

// What is asked and wanted of a CheckHTTPS where nothing else is said.
const (
	DefaultMethod = http.MethodGet
	DefaultPath   = "/"
)

// DefaultExpect is what is wanted of the answer then.
func DefaultExpect() StatusRange { return StatusRange{200, 399} }

// ParseStatusRange reads "200" or "200-399".
func ParseStatusRange(text string) (StatusRange, error) {
	from, to, ranged := strings.Cut(text, "-")
	if !ranged {
		to = from
	}
	r, err := StatusRange{}, error(nil)
	if r.From, err = strconv.Atoi(from); err == nil {
		r.To, err = strconv.Atoi(to)
	}
	if err != nil || r.From < 100 || r.To > 599 || r.From > r.To {
		return StatusRange{}, fmt.Errorf("%q is no HTTP status or range of them: use 200 or 200-399", text)
	}
	return r, nil
}

func (r StatusRange) String() string {
	if r.From == r.To {
		return strconv.Itoa(r.From)
	}
	return fmt.Sprintf("%d-%d", r.From, r.To)
}

// validate fills in defaults and refuses what cannot be meant.
func (k *Check) validate() error {
	if k.Kind >= NumKinds {
		return fmt.Errorf("health: unknown kind of check %d", k.Kind)
	}
	if k.Roots != nil && k.ServerName == "" {
		return errors.New("health: a certificate can only be verified for a server name: give the check one")
	}
	k.Method = cmp.Or(k.Method, DefaultMethod)
	k.Path = cmp.Or(k.Path, DefaultPath)
	if !strings.HasPrefix(k.Path, "/") {
		return fmt.Errorf("health: the path %q of the check does not begin with /", k.Path)
	}
	if len(k.Expect) == 0 {
		k.Expect = []StatusRange{DefaultExpect()}
	}
	return nil
}

// run is one check of the backend at addr, bounded by ctx. What is said behind the connect begins with the PROXY header
// that all conns to the backend begin with. nil: it is as it should be.
func (k *Check) run(ctx context.Context, addr netaddr.Addr, header pool.ProxyHeader) error {
	if k.Port != 0 && !addr.IsUnix() {
		addr = netaddr.Of(netip.AddrPortFrom(addr.IP().Addr(), k.Port))
	}
	conn, err := dial(ctx, addr)
	if err != nil {
		return &failure{err: err, waited: waitedIf(isTimeout(err), waitedConnect)}
	}
	defer hangUp(conn)
	if k.Kind == CheckTCP {
		return nil
	}
	// One way to end for all that follows, whether ctx is cancelled or runs out: the socket's deadline.
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if err := sayHeader(conn, header); err != nil {
		return fmt.Errorf("PROXY header: %s", reason(err))
	}
	heard := &hearing{Conn: conn}
	secured := tls.Client(heard, k.config())
	if err := secured.HandshakeContext(ctx); err != nil {
		why := fmt.Errorf("TLS handshake: %s", reason(err))
		return &failure{err: why, waited: waitedIf(isTimeout(err) && !heard.something, waitedAnswer)}
	}
	if len(k.ALPN) > 0 && secured.ConnectionState().NegotiatedProtocol == "" {
		return fmt.Errorf("TLS handshake: none of the protocols %s is spoken", strings.Join(k.ALPN, ", "))
	}
	if k.Kind == CheckTLS {
		return nil
	}
	return k.request(ctx, secured, addr)
}

// config is what the check says as a client of TLS. All versions that a backend may speak are offered: what is right
// for its clients is not for a check to say.
func (k *Check) config() *tls.Config {
	return &tls.Config{
		ServerName: k.ServerName, NextProtos: k.ALPN, RootCAs: k.Roots, MinVersion: tls.VersionTLS10,
		InsecureSkipVerify: k.Roots == nil, // see Roots
	}
}

// request sends the request on a connection of its own and judges the status. No body is read, no redirection followed.
func (k *Check) request(ctx context.Context, conn *tls.Conn, addr netaddr.Addr) error {
	host := k.ServerName
	switch {
	case host != "":
	case addr.IsUnix():
		host = "localhost" // a path is no host (RFC 9110, 7.2)
	default:
		host = addr.String()
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(conn.ConnectionState().NegotiatedProtocol == "h2")
	transport := &http.Transport{
		DialTLSContext:    func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DisableKeepAlives: true, Protocols: protocols, MaxResponseHeaderBytes: 64 << 10,
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, k.Method, "https://"+host+k.Path, http.NoBody)
	if err != nil {
		return fmt.Errorf("HTTPS request: %w", err)
	}
	req.Header.Set("User-Agent", "homing-check")
	answer, err := transport.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("HTTPS request: %s", reason(err))
	}
	_ = answer.Body.Close() // only the status is asked for
	code := answer.StatusCode
	if slices.ContainsFunc(k.Expect, func(r StatusRange) bool { return r.From <= code && code <= r.To }) {
		return nil
	}
	return fmt.Errorf("HTTPS request: status %d, wanted %v", answer.StatusCode, k.Expect)
}

// reason words what went wrong once the backend had accepted; the sentence is kept whole in the log.
func reason(err error) string {
	if isTimeout(err) {
		return "timeout"
	}
	return describe(err)
}

// redialEvery is the pause before the next connect to a unix socket whose queue is full: TCP sends its SYN again by
// itself.
const redialEvery = 20 * time.Millisecond

// dial connects to a backend for a check or a probe.
func dial(ctx context.Context, addr netaddr.Addr) (net.Conn, error) {
	dialer := net.Dialer{KeepAlive: -1} // it does not live long enough to be probed
	for {
		conn, err := dialer.DialContext(ctx, addr.Network(), addr.Dial())
		if err == nil || !addr.IsUnix() {
			return conn, err
		}
		if errors.Is(err, fs.ErrPermission) { // with TCP it tells of this machine, here of the backend
			return nil, errors.New("its socket's file lets nobody of this process's user connect")
		}
		if !isTimeout(err) || !wait(ctx, redialEvery) { // EAGAIN is a timeout to package syscall
			return nil, err
		}
	}
}

// sayHeader begins a connection of our own, in which nobody is spoken for.
func sayHeader(conn net.Conn, header pool.ProxyHeader) error {
	if header == pool.ProxyOff {
		return nil
	}
	text, err := proxyheader.Append(nil, proxyheader.Version(header), &proxyheader.Header{})
	if err != nil {
		return err
	}
	_, err = conn.Write(text)
	return err
}

// hangUp closes by RST, which leaves no TIME_WAIT behind: a check every 2 s would else hold a local port of every
// backend 30 times.
func hangUp(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it the check holds as well
	}
	_ = conn.Close() // the backend has answered, no error can take that back
}

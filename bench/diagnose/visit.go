package diagnose

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"homing/bench/tlsclient"
	"homing/bench/tlscore"
)

// visit is what one conn came to.
type visit struct {
	resumed  bool
	sessions []*tlscore.Session
	err      error
	refused  bool // err says that the server does not speak the version
	noRoute  bool // err says that this machine has no way there
	cut      bool // the server did not end the conn: it may have had more to give
	asked    bool // the server asked for a client certificate
	final    bool // err would be the same for a client of another kind
}

// visitor makes one conn.
type visitor interface {
	// visit connects as a client of the kind, offers the session (nil: none) and waits for what the server gives.
	visit(ctx context.Context, a *Address, k tlscore.Kind, s *tlscore.Session) visit
}

// network is the visitor of real servers.
type network struct {
	options *Options
	shares  *tlscore.KeyShares
	manners map[string]manner // of TLS 1.3 servers, by address
	leaving map[string]bool   // addresses whose servers leave a conn open that the client has ended
}

// manner is what makes a TLS 1.3 server give its tickets.
type manner uint8

const (
	unknownManner manner = iota // the end of the handshake did so far
	quietManner                 // nothing more does than the end of the handshake
	talkManner                  // a request does
)

func newNetwork(o *Options) (*network, error) {
	shares, err := tlscore.NewKeyShares(tls.X25519, tls.CurveP256)
	if err != nil {
		return nil, fmt.Errorf("diagnose: %w", err)
	}
	return &network{options: o, shares: shares, manners: map[string]manner{}, leaving: map[string]bool{}}, nil
}

// afterwards bounds the wait for a server that does not end a conn itself, see end: one round trip is enough, and who is
// further away than this waits in vain for much.
const afterwards = time.Second

// storing is how long a TLS 1.2 server that does not end conns is given to store a session: a thread that waits for its turn
// on a busy machine has it by then.
const storing = 100 * time.Millisecond

func (n *network) visit(ctx context.Context, a *Address, k tlscore.Kind, s *tlscore.Session) visit {
	if k != tlscore.OfferPSK {
		return n.conn(ctx, a, k, s, unknownManner)
	}
	how := n.manners[a.Addr]
	v := n.conn(ctx, a, k, s, how)
	if how != unknownManner || v.err != nil || s != nil || len(v.sessions) > 0 {
		return v
	}
	// No ticket: maybe the server waits for a request. Of several servers some may.
	n.manners[a.Addr] = quietManner
	if talked := n.conn(ctx, a, k, nil, talkManner); talked.err == nil && len(talked.sessions) > 0 {
		n.manners[a.Addr] = talkManner
		return talked
	}
	return v
}

func (n *network) conn(ctx context.Context, a *Address, k tlscore.Kind, s *tlscore.Session, how manner) visit {
	ctx, cancel := context.WithTimeout(ctx, n.options.Timeout)
	defer cancel()
	raw, err := n.dialer(a).DialContext(ctx, "tcp", a.Addr)
	if err != nil {
		return visit{err: n.connectError(err), noRoute: noRoute(err), final: true}
	}
	defer func() { _ = raw.Close() }() // nothing is lost by it
	deadline, _ := ctx.Deadline()
	if err := raw.SetDeadline(deadline); err != nil {
		return visit{err: fmt.Errorf("set a deadline: %w", err)}
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Now()) })
	defer stop()
	conn, err := tlsclient.NewConn(raw, n.tls(a, k, s))
	if err != nil {
		return visit{err: err, final: true}
	}
	if err := conn.Handshake(); err != nil {
		return n.failed(err, conn, a, k)
	}
	cut, err := n.end(raw, conn, a, how)
	if err != nil {
		return n.failed(err, conn, a, k)
	}
	state := conn.State()
	return visit{resumed: state.Resumed, sessions: conn.Sessions(), cut: cut, asked: state.Asked}
}

// dialer connects from where an address is to be seen from.
func (n *network) dialer(a *Address) *net.Dialer {
	if a.source >= len(n.options.Sources) || n.options.Sources[a.source].Is4() != a.is4() {
		return &net.Dialer{}
	}
	return &net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(n.options.Sources[a.source], 0))}
}

func (n *network) failed(err error, conn *tlsclient.Conn, a *Address, k tlscore.Kind) visit {
	certificate, other := (*tlscore.CertificateError)(nil), (*tlscore.NotTLSError)(nil)
	final := errors.As(err, &certificate) || errors.As(err, &other)
	return visit{err: n.handshakeError(err, conn.State(), a, k), refused: refused(err), final: final}
}

// end ends a conn in good order and waits until the server does too. TLS 1.3 servers give their tickets meanwhile; and a
// server of TLS 1.2 puts its session into the cache behind its last message (OpenSSL does, and so Apache, stunnel): who
// comes back before may be refused. OpenSSL forgets the session of a conn that does not end in good order. An error is an
// alert: a TLS 1.3 server that wants a client certificate refuses it only now. cut says that the server did not end it.
func (n *network) end(raw net.Conn, conn *tlsclient.Conn, a *Address, how manner) (cut bool, err error) {
	if how == talkManner {
		host := a.Name
		if host == "" {
			host = a.Addr
		}
		// A server of another protocol takes it for an error and ends the conn, which is all that is wanted of it.
		_, _ = io.WriteString(conn, "HEAD / HTTP/1.1\r\nHost: "+host+"\r\nConnection: close\r\n\r\n")
	} else {
		_ = conn.CloseWrite() // it has served its purpose
	}
	wait := afterwards
	if n.leaving[a.Addr] && conn.State().Version != tls.VersionTLS13 {
		wait = storing
	}
	_ = raw.SetReadDeadline(time.Now().Add(min(wait, n.options.Timeout))) // it was set before
	_, err = io.Copy(io.Discard, conn)
	n.leaving[a.Addr] = n.leaving[a.Addr] || late(err)
	if alert := tls.AlertError(0); errors.As(err, &alert) && len(conn.Sessions()) == 0 {
		return false, err // handshakeError words it
	}
	return late(err), nil // however else the server ends a conn that has served its purpose
}

// tls returns the options of a client of the kind.
func (n *network) tls(a *Address, k tlscore.Kind, s *tlscore.Session) *tlscore.Options {
	o := &tlscore.Options{ServerName: a.Name, Roots: n.options.Roots, ALPN: n.options.ALPN, Session: s, Shares: n.shares}
	if n.options.Insecure {
		o.Verify = tlscore.VerifySignature
	} else if o.ServerName == "" { // the certificate must be for the address then
		o.ServerName, _, _ = net.SplitHostPort(a.Addr)
	}
	switch k {
	case tlscore.OfferPSK:
		o.MinVersion, o.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	case tlscore.OfferTicket:
		o.Tickets = true
		o.MaxVersion, o.Suites = tls.VersionTLS12, suites12()
	case tlscore.OfferID, tlscore.OfferNone:
		o.MaxVersion, o.Suites = tls.VersionTLS12, suites12()
	}
	return o
}

// suites12 are the cipher suites of TLS 1.2, the old ones last: IIS before 2016 has little else for an RSA certificate.
func suites12() []uint16 {
	return append(slices.Clone(tlscore.Plain().Suites), tlscore.OldSuites()...)
}

// noRoute reports whether the machine has no way to an address, as one without IPv6 has none to IPv6. The number of the error
// is the kernel's business; the text is the same on every Unix.
func noRoute(err error) bool {
	return strings.Contains(err.Error(), "network is unreachable") || strings.Contains(err.Error(), "cannot assign requested address")
}

// connectError words a failed connect.
func (n *network) connectError(err error) error {
	if errors.Is(err, context.Canceled) {
		return context.Canceled
	}
	if late(err) {
		return fmt.Errorf("no answer to a connect within %v: is the address right, is a firewall between?", n.options.Timeout)
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) { // its text repeats the address
		if sys := (*os.SyscallError)(nil); errors.As(op.Err, &sys) {
			err = sys.Err
		}
	}
	return fmt.Errorf("cannot connect: %w", err)
}

func late(err error) bool {
	if err == nil {
		return false
	}
	e := net.Error(nil)
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &e) && e.Timeout()
}

// Alerts, RFC 5246 section 7.2, RFC 9846 section 6.
const (
	alertHandshakeFailure   = 40
	alertProtocolVersion    = 70
	alertUnrecognizedName   = 112
	alertCertificateMissing = 116
	alertNoProtocol         = 120
)

// refused reports whether an error of a handshake says that the server does not speak the version.
func refused(err error) bool {
	if alert := tls.AlertError(0); errors.As(err, &alert) {
		return alert == alertProtocolVersion
	}
	version := (*tlscore.VersionError)(nil)
	return errors.As(err, &version)
}

// handshakeError words a handshake that failed.
func (n *network) handshakeError(err error, state tlscore.State, a *Address, k tlscore.Kind) error {
	version := "TLS 1.2"
	if k == tlscore.OfferPSK {
		version = "TLS 1.3"
	}
	if e := (*tlscore.NotTLSError)(nil); errors.As(err, &e) {
		return notTLS(e)
	}
	if e := (*tlscore.CertificateError)(nil); errors.As(err, &e) {
		return certificateError(e, a)
	}
	if e := (*tlscore.SuiteError)(nil); errors.As(err, &e) {
		return fmt.Errorf("the server selects the cipher suite %s, which this client does not speak", tls.CipherSuiteName(e.Suite))
	}
	alert := tls.AlertError(0)
	switch {
	case state.Asked && (errors.As(err, &alert) || errors.Is(err, io.ErrUnexpectedEOF)):
		return errors.New("the server wants a client certificate, and ends the handshake without")
	case errors.As(err, &alert):
		return alertError(alert, version, a, n.options.ALPN)
	case refused(err):
		return fmt.Errorf("the server does not speak %s", version)
	case late(err):
		return fmt.Errorf("connected, but no answer to a %s hello within %v: is it TLS, is what stands before the server up?", version, n.options.Timeout)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the server closes the conn instead of a %s handshake: is it TLS, does it know the name?", version)
	case strings.Contains(err.Error(), "connection reset by peer"):
		return fmt.Errorf("the server resets the conn instead of a %s handshake: is it TLS, does it know the name?", version)
	}
	return fmt.Errorf("%s handshake: %w", version, inner(err))
}

// inner takes the names of packages off an error.
func inner(err error) error {
	text := err.Error()
	for _, prefix := range []string{"tlsclient: ", "handshake: ", "tlscore: ", "handshake: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return errors.New(text)
}

func notTLS(e *tlscore.NotTLSError) error {
	if strings.HasPrefix(string(e.Start), "HTTP/") {
		return errors.New("the port speaks plain HTTP: give the port of HTTPS, 443 as a rule")
	}
	return fmt.Errorf("the port does not speak TLS: its answer begins %q", e.Start)
}

func alertError(alert tls.AlertError, version string, a *Address, alpn []string) error {
	switch alert {
	case alertProtocolVersion:
		return fmt.Errorf("the server does not speak %s", version)
	case alertHandshakeFailure:
		return fmt.Errorf("the server finds nothing in common in a %s handshake (cipher suites, groups, signatures), or does not know the name %q", version, a.Name)
	case alertUnrecognizedName:
		return fmt.Errorf("the server does not know the name %q: give one that it knows with --sni", a.Name)
	case alertCertificateMissing:
		return errors.New("the server wants a client certificate, and ends the handshake without")
	case alertNoProtocol:
		return fmt.Errorf("the server speaks none of the protocols %s: see --alpn", strings.Join(alpn, ","))
	}
	return fmt.Errorf("the server ends the %s handshake: %s", version, strings.TrimPrefix(alert.Error(), "tls: "))
}

// certificateError words a certificate that was not accepted, and how to go on.
func certificateError(e *tlscore.CertificateError, a *Address) error {
	const anyhow = "--insecure examines the server all the same"
	host := x509.HostnameError{}
	if errors.As(e.Err, &host) {
		return fmt.Errorf("the certificate is for %s, not for %s: give the name with --sni, or %s", names(host.Certificate), host.Host, anyhow)
	}
	unknown, invalid := x509.UnknownAuthorityError{}, x509.CertificateInvalidError{}
	switch {
	case errors.As(e.Err, &invalid) && invalid.Reason == x509.Expired && len(e.Chain) > 0:
		leaf := e.Chain[0]
		if time.Now().Before(leaf.NotBefore) {
			return fmt.Errorf("the certificate is not valid before %s: %s", leaf.NotBefore.UTC().Format(time.DateOnly), anyhow)
		}
		return fmt.Errorf("the certificate was valid until %s: %s", leaf.NotAfter.UTC().Format(time.DateOnly), anyhow)
	case errors.As(e.Err, &unknown):
		return fmt.Errorf("the certificate of %s is signed by an authority that is not trusted here: give it with --ca FILE, or %s", a.Name, anyhow)
	}
	return fmt.Errorf("the certificate is not accepted: %w: %s", e.Err, anyhow)
}

// names returns what a certificate is for, the first three of it.
func names(c *x509.Certificate) string {
	list := c.DNSNames
	for _, ip := range c.IPAddresses {
		list = append(list, ip.String())
	}
	if len(list) == 0 {
		return "no name"
	}
	if len(list) > 3 {
		list = append(list[:3:3], "...")
	}
	return strings.Join(list, ", ")
}

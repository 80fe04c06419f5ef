package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/procfs"

	"homing/bench/sock"
	"homing/bench/tlsclient"
	"homing/bench/tlscore"
)

// ownDescriptors are those that a run has open beside its conns: epoll, eventfd, standard files, files of /proc.
const ownDescriptors = 64

// prepare makes ready what all loops share, and finds out beforehand what would make every conn fail.
func (r *run) prepare(ctx context.Context) error {
	lookup := func(host string) ([]netip.Addr, error) { return net.DefaultResolver.LookupNetIP(ctx, "ip", host) }
	if err := r.resolve(lookup); err != nil {
		return err
	}
	var roots *x509.CertPool
	if r.plan.Roots != "" {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(r.plan.Roots)) {
			return errors.New("roots: there is no certificate in them: give PEM")
		}
	}
	r.newGroups(roots)
	limit, err := sock.DescriptorLimit()
	if err != nil {
		return err
	}
	if need := r.plan.Clients + ownDescriptors; need > limit {
		return fmt.Errorf("%d clients need up to %d descriptors, and this process may open %d: raise ulimit -n, or take fewer clients",
			r.plan.Clients, need, limit)
	}
	if err := r.checkPorts(portRange()); err != nil {
		return err
	}
	for i := range r.targets {
		if err := r.probe(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// reusedGroups are the groups whose keys the handshakes of a loop share (Plan.ReuseKeyShare): all that hellos offer.
func reusedGroups() []tls.CurveID {
	return []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.X25519MLKEM768}
}

// portRange is how many ports the kernel has for one source address and one target; 0: it does not say.
func portRange() int {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0
	}
	ends, err := fs.SysctlInts("net.ipv4.ip_local_port_range")
	if err != nil || len(ends) != 2 {
		return 0
	}
	return max(0, ends[1]-ends[0]+1)
}

func (r *run) checkPorts(ports int) error {
	one := r.plan.Sources == SourceShared || r.plan.Sources == SourceKernel
	if open := (r.plan.Clients + len(r.targets) - 1) / len(r.targets); one && ports > 0 && open > ports {
		return fmt.Errorf("%d clients from one address need as many ports, and the kernel has %d for it (net.ipv4.ip_local_port_range): take fewer clients, or --sources own",
			r.plan.Clients, ports)
	}
	return nil
}

// probe makes one conn of each TLS version that the plan needs to a target, and words what goes wrong for who has to
// mend it.
func (r *run) probe(ctx context.Context, target int) error {
	var tried []uint16
	for i := range r.groups {
		g := &r.groups[i]
		if slices.Contains(tried, g.options.MaxVersion) {
			continue
		}
		tried = append(tried, g.options.MaxVersion)
		for j := range r.names {
			if err := r.probeOnce(ctx, g, target, j); err != nil {
				return r.word(err, g, target, j)
			}
		}
	}
	return nil
}

// probeOnce makes one conn, and one request if the group makes any.
func (r *run) probeOnce(ctx context.Context, g *group, target, name int) error {
	d := net.Dialer{Timeout: r.plan.Timeout}
	conn, err := d.DialContext(ctx, "tcp", r.targets[target].String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // all has been read by then
	if err := conn.SetDeadline(time.Now().Add(r.plan.Timeout)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) }) // reading fails, and tells
	defer stop()
	o := g.options
	o.ServerName, o.Shape, o.RecordBytes = r.names[name], nil, 0
	c, err := tlsclient.NewConn(conn, &o)
	if err != nil {
		return err
	}
	if err := c.Handshake(); err != nil || g.Requests < 0 {
		return errors.Unwrap(err) // whose conn it was says nothing here
	}
	if _, err := c.Write(g.requests[name][1]); err != nil {
		return err
	}
	var a answer
	for buf := make([]byte, readBytes); a.state != answered; {
		n, err := c.Read(buf)
		if _, bad := a.feed(buf[:n]); bad != nil {
			return &answerError{bad}
		}
		over := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && (!over || !a.end()) {
			return errors.Unwrap(err)
		}
	}
	if a.status/100 != 2 {
		return errStatus(a.status)
	}
	return nil
}

// word says what is wrong with a target, and what mends it.
func (r *run) word(err error, g *group, target, name int) error {
	at := r.plan.Targets[target]
	version := tls.VersionName(g.options.MaxVersion)
	if ctx := context.Canceled; errors.Is(err, ctx) {
		return fmt.Errorf("interrupted while trying %s", at)
	}
	timeout := false
	if e, ok := errors.AsType[net.Error](err); ok {
		timeout = e.Timeout()
	}
	if e, ok := errors.AsType[*tlscore.NotTLSError](err); ok {
		return fmt.Errorf("%s does not speak TLS: it answers %q: is the port right?", at, e.Start)
	}
	switch class := classify(err); {
	case class == ConnectRefused:
		return fmt.Errorf("cannot connect to %s: connection refused: nothing listens there", at)
	case timeout:
		return fmt.Errorf("%s does not answer within %v: is the address right, and nothing in the way?", at, r.plan.Timeout)
	case class == Certificate:
		return fmt.Errorf("%s: the certificate is not accepted for %q: %w: give --name or --ca, or --verify off", at, r.names[name], last(err))
	case class == Version:
		return fmt.Errorf("%s does not speak %s, which clients of the kind %s need: take another --mix", at, version, g.Kind)
	case class == Answer:
		return fmt.Errorf("%s: %w: a target has to answer GET / with a status of 2xx (%s)", at, last(err), g.path())
	default:
		return fmt.Errorf("%s, tried with %s: %w", at, version, err)
	}
}

func (g *group) path() string {
	if g.Response > 0 {
		return "and ranges of /data; homing-bench serve does"
	}
	return "or take --requests -1 for handshakes alone"
}

// last returns what the innermost error says: the reason, without the way it went.
func last(err error) error {
	if e, ok := errors.AsType[*tlscore.CertificateError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*answerError](err); ok {
		return e.err
	}
	return err
}

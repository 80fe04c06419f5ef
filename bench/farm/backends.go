package farm

import (
	"context"
	"fmt"

	"homing/bench"
	"homing/bench/tlsserver"
)

// Options says which backends to start.
type Options struct {
	// N is how many; 0 is 3.
	N int
	// Nginx takes real nginx. Otherwise Self is the path of homing-bench, whose backend command is started for each.
	Nginx bool
	Self  string
	// Addrs are the addresses to listen on, one for each; nil: free ones on 127.0.0.1.
	Addrs []string
	// Key of the certificate that all of them serve, RSA if empty.
	Key tlsserver.Key
	// NoTickets turns tickets off: TLS 1.2 resumes by session ID, TLS 1.3 by stateful identities (nginx alone).
	NoTickets bool
	// EarlyData accepts 0-RTT (nginx alone).
	EarlyData bool
	// AccessLog has nginx write a line for each request, see Nginx.LogPath.
	AccessLog bool
}

// Backends is a set of running backends with the names backend1, backend2 and so on. It is a bench.Teller for them.
type Backends struct {
	o    Options
	cert *Certificate
	list []*Server
}

// StartBackends starts the backends and returns when all of them accept. On an error none is left running.
func StartBackends(ctx context.Context, o Options) (_ *Backends, err error) {
	if o.N == 0 {
		o.N = 3
	}
	if o.Key == "" {
		o.Key = tlsserver.RSA
	}
	if o.Addrs == nil {
		o.Addrs = make([]string, o.N)
	}
	if len(o.Addrs) != o.N {
		return nil, fmt.Errorf("farm: %d addresses for %d backends", len(o.Addrs), o.N)
	}
	b := &Backends{o: o}
	if b.cert, err = newCertificate(o.Key, BackendsName, "*."+BackendsName); err != nil {
		return nil, err
	}
	b.list, err = StartAll(o.N, func(i int) (*Server, error) {
		s, err := b.start(ctx, i)
		if err != nil {
			err = fmt.Errorf("farm: %s: %w", BackendName(i), err)
		}
		return s, err
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

func (b *Backends) start(ctx context.Context, i int) (*Server, error) {
	if !b.o.Nginx {
		return Launch(ctx, "go", BackendName(i), b.o.Addrs[i], b.goServer)
	}
	n, err := StartNginx(ctx, NginxConfig{
		Name: BackendName(i), Certificates: []*Certificate{b.cert}, Addr: b.o.Addrs[i], NoTickets: b.o.NoTickets,
		EarlyData: b.o.EarlyData, SessionCache: "shared:bench:64m", SessionTimeout: "1h", QuietLog: !b.o.AccessLog, Load: true,
	})
	if err != nil {
		return nil, err
	}
	return n.Server, nil
}

// goServer is a server in Go, in a process of its own: so each has a CPU account of its own.
func (b *Backends) goServer(s *Server) (Recipe, error) {
	args := []string{"backend", "--listen", s.addr, "--name", s.name, "--cert", s.File("chain.pem"), "--key", s.File("key.pem")}
	if b.o.NoTickets {
		args = append(args, "--no-tickets")
	}
	return Recipe{Files: map[string][]byte{"chain.pem": b.cert.Chain, "key.pem": b.cert.Key}, Program: b.o.Self, Args: args}, nil
}

// BackendName returns the name of backend i, counted from 0.
func BackendName(i int) string { return fmt.Sprintf("backend%d", i+1) }

func (b *Backends) named(name string) (*Server, error) {
	for _, s := range b.list {
		if s.name == name {
			return s, nil
		}
	}
	return nil, fmt.Errorf("farm: there is no %s", name)
}

// Addrs returns the addresses, HOST:PORT.
func (b *Backends) Addrs() []string {
	addrs := make([]string, len(b.list))
	for i, s := range b.list {
		addrs[i] = s.addr
	}
	return addrs
}

// Roots returns what clients have to trust, in PEM.
func (b *Backends) Roots() string { return string(b.cert.Chain) }

// LogPath returns the path of nginx's access log (Options.AccessLog).
func (b *Backends) LogPath(i int) string { return (&Nginx{b.list[i]}).LogPath() }

// PIDs returns the process IDs of backend i, children included; none while it is down.
func (b *Backends) PIDs(i int) []int { return b.list[i].PIDs() }

// Processes returns the process IDs of a backend, children included; none while it is down.
func (b *Backends) Processes(_ context.Context, name string) ([]int, error) {
	s, err := b.named(name)
	if err != nil {
		return nil, err
	}
	return s.PIDs(), nil
}

// Watched returns the backends as Plan.Watch wants them.
func (b *Backends) Watched() []bench.Watched {
	var list []bench.Watched
	for _, s := range b.list {
		list = append(list, bench.Watched{Role: "backend", Name: s.name, PIDs: s.PIDs()})
	}
	return list
}

// Describe says in some words what the backends are.
func (b *Backends) Describe() string {
	what, key := "Go servers", "RSA 2048"
	if b.o.Nginx {
		what = nginxVersion()
	}
	if b.o.Key == tlsserver.ECDSA {
		key = "ECDSA P-256"
	}
	if len(b.list) == 1 {
		return fmt.Sprintf("one %s, %s", what, key)
	}
	return fmt.Sprintf("%d %s, %s, private session caches and ticket keys", len(b.list), what, key)
}

// Down kills a backend, as a crash would. One that is down stays so.
func (b *Backends) Down(_ context.Context, name string) error {
	s, err := b.named(name)
	if err == nil {
		s.Kill()
	}
	return err
}

// Up starts a backend again: on the same address, with an empty session cache and new ticket keys.
func (b *Backends) Up(ctx context.Context, name string) error {
	s, err := b.named(name)
	if err != nil || len(s.PIDs()) > 0 {
		return err
	}
	return s.Restart(ctx)
}

// Stop ends all backends and removes what they left.
func (b *Backends) Stop() error { return StopAll(b.list) }

var _ bench.Teller = (*Backends)(nil)

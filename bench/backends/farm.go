package backends

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"homing/bench"
	"homing/bench/proc"
	"homing/bench/tlsserver"
)

// ServerName is the host name in every certificate made here; the second one is any name below it.
const ServerName = "bench.homing.test"

// NewCertificate makes a certificate for ServerName, all names below it, localhost and 127.0.0.1.
func NewCertificate(kind tlsserver.Key) (*tlsserver.Certificate, error) {
	c, err := tlsserver.New(kind, ServerName, "*."+ServerName, "localhost", "127.0.0.1")
	if err != nil {
		return nil, fmt.Errorf("backends: %w", err)
	}
	return c, nil
}

// Options says which backends to start.
type Options struct {
	// N is how many; 0 is 3.
	N int
	// Nginx takes real nginx. Otherwise Self is the path of homing-bench, whose backend command is started for each.
	Nginx bool
	Self  string
	// Addrs are the addresses to listen on, one for each; nil: free ones on 127.0.0.1.
	Addrs []string
	// Certificate served by all; nil: a new one of Key, which is RSA if empty.
	Certificate *tlsserver.Certificate
	Key         tlsserver.Key
	// NoTickets turns tickets off: TLS 1.2 resumes by session ID, TLS 1.3 by stateful identities (nginx alone).
	NoTickets bool
	// EarlyData accepts 0-RTT (nginx alone).
	EarlyData bool
	// Protocols is nginx's ssl_protocols; empty is TLS 1.2 and 1.3.
	Protocols string
	// AccessLog has nginx write a line for each request: REUSED PROTOCOL CLIENT STATUS REQUEST-NUMBER.
	AccessLog bool
}

// Farm is a set of running backends with the names backend1, backend2 and so on. It is a bench.Teller for them.
type Farm struct {
	o     Options
	dir   string
	addrs []string

	mu    sync.Mutex
	procs []*proc.Process // guarded by mu; one that is down is nil
}

// Start starts the backends and returns when all of them accept. On an error none is left running.
func Start(ctx context.Context, o Options) (*Farm, error) {
	if o.N == 0 {
		o.N = 3
	}
	if o.Key == "" {
		o.Key = tlsserver.RSA
	}
	var err error
	if o.Certificate == nil {
		if o.Certificate, err = NewCertificate(o.Key); err != nil {
			return nil, err
		}
	}
	if o.Addrs == nil {
		if o.Addrs, err = proc.FreeAddrs(ctx, o.N); err != nil {
			return nil, fmt.Errorf("backends: %w", err)
		}
	}
	if len(o.Addrs) != o.N {
		return nil, fmt.Errorf("backends: %d addresses for %d backends", len(o.Addrs), o.N)
	}
	dir, err := os.MkdirTemp("", "homing-bench-")
	if err != nil {
		return nil, fmt.Errorf("backends: make directory: %w", err)
	}
	f := &Farm{o: o, dir: dir, addrs: o.Addrs, procs: make([]*proc.Process, o.N)}
	errs := make([]error, o.N)
	var wg sync.WaitGroup
	for i := range o.N {
		wg.Go(func() { errs[i] = f.start(ctx, i) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, errors.Join(err, f.Stop())
	}
	return f, nil
}

// Name returns the name of backend i, counted from 0.
func Name(i int) string { return fmt.Sprintf("backend%d", i+1) }

func (f *Farm) index(name string) (int, error) {
	for i := range f.addrs {
		if Name(i) == name {
			return i, nil
		}
	}
	return 0, fmt.Errorf("backends: there is no %s", name)
}

func (f *Farm) directory(i int) string { return filepath.Join(f.dir, Name(i)) }

// start starts backend i, which does not run.
func (f *Farm) start(ctx context.Context, i int) error {
	dir := f.directory(i)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("backends: make directory: %w", err)
	}
	command := f.o.goServer
	if f.o.Nginx {
		command = f.o.nginx
	}
	c, err := command(dir, Name(i), f.addrs[i])
	if err != nil {
		return err
	}
	p, err := proc.Start(ctx, c)
	if err != nil {
		return fmt.Errorf("backends: %s: %w", Name(i), err)
	}
	if err := f.awaitWorker(ctx, p); err != nil {
		p.Kill()
		return fmt.Errorf("backends: %s: %w", Name(i), err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.procs[i] = p
	return nil
}

// workerTimeout bounds the wait for nginx's worker, which is forked within milliseconds.
const workerTimeout = 10 * time.Second

// awaitWorker waits until nginx has forked the process that does the work. The master listens before that: whoever took the
// process IDs then would watch one that does nothing.
func (f *Farm) awaitWorker(ctx context.Context, p *proc.Process) error {
	if !f.o.Nginx {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, workerTimeout)
	defer cancel()
	err := proc.Until(ctx, func() (bool, error) {
		if !p.Running() {
			return false, fmt.Errorf("nginx ended: %s", p.LastLine())
		}
		return len(p.Tree()) > 1, nil
	})
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("nginx has no worker process after %v: %s", workerTimeout, p.LastLine())
	}
	return err
}

// goServer returns the command that starts one server in Go.
func (o *Options) goServer(dir, name, addr string) (proc.Command, error) {
	chain, key := filepath.Join(dir, "chain.pem"), filepath.Join(dir, "key.pem")
	for file, content := range map[string][]byte{chain: o.Certificate.Chain, key: o.Certificate.Key} {
		if err := os.WriteFile(file, content, 0o600); err != nil {
			return proc.Command{}, fmt.Errorf("backends: write files of %s: %w", name, err)
		}
	}
	args := []string{"backend", "--listen", addr, "--name", name, "--cert", chain, "--key", key}
	if o.NoTickets {
		args = append(args, "--no-tickets")
	}
	return proc.Command{Path: o.Self, Args: args, Ready: []string{addr}}, nil
}

// Addrs returns the addresses, HOST:PORT.
func (f *Farm) Addrs() []string { return f.addrs }

// Roots returns what clients have to trust, in PEM.
func (f *Farm) Roots() string { return string(f.o.Certificate.Chain) }

// LogPath returns the path of nginx's access log (Options.AccessLog).
func (f *Farm) LogPath(i int) string { return filepath.Join(f.directory(i), "access.log") }

// PIDs returns the process IDs of backend i, children included; none while it is down.
func (f *Farm) PIDs(i int) []int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.procs[i] == nil {
		return nil
	}
	return f.procs[i].Tree()
}

// Processes returns the process IDs of a backend, children included; none while it is down.
func (f *Farm) Processes(_ context.Context, name string) ([]int, error) {
	i, err := f.index(name)
	if err != nil {
		return nil, err
	}
	return f.PIDs(i), nil
}

// Watched returns the backends as Plan.Watch wants them.
func (f *Farm) Watched() []bench.Watched {
	var list []bench.Watched
	for i := range f.addrs {
		list = append(list, bench.Watched{Role: "backend", Name: Name(i), PIDs: f.PIDs(i)})
	}
	return list
}

// Describe says in some words what the backends are.
func (f *Farm) Describe() string {
	what, key := "Go servers", "RSA 2048"
	if f.o.Nginx {
		what = nginxVersion()
	}
	if f.o.Key == tlsserver.ECDSA {
		key = "ECDSA P-256"
	}
	if len(f.addrs) == 1 {
		return fmt.Sprintf("one %s, %s", what, key)
	}
	return fmt.Sprintf("%d %s, %s, private session caches and ticket keys", len(f.addrs), what, key)
}

// Down kills a backend, as a crash would. One that is down stays so.
func (f *Farm) Down(_ context.Context, name string) error {
	i, err := f.index(name)
	if err != nil {
		return err
	}
	f.mu.Lock()
	p := f.procs[i]
	f.procs[i] = nil
	f.mu.Unlock()
	if p != nil {
		p.Kill()
	}
	return nil
}

// Up starts a backend again: on the same address, with an empty session cache and new ticket keys.
func (f *Farm) Up(ctx context.Context, name string) error {
	i, err := f.index(name)
	if err != nil {
		return err
	}
	if f.PIDs(i) != nil {
		return nil
	}
	return f.start(ctx, i)
}

// Stop ends all backends and removes what they left.
func (f *Farm) Stop() error {
	f.mu.Lock()
	procs := f.procs
	f.procs = make([]*proc.Process, len(procs))
	f.mu.Unlock()
	var wg sync.WaitGroup
	for _, p := range procs {
		if p != nil {
			wg.Go(p.Stop)
		}
	}
	wg.Wait()
	if err := os.RemoveAll(f.dir); err != nil {
		return fmt.Errorf("backends: remove %s: %w", f.dir, err)
	}
	return nil
}

var _ bench.Teller = (*Farm)(nil)

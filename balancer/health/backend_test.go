package health

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"homing/balancer/affinity"
	"homing/balancer/pool"
	"homing/bench/testkit"
)

// certificate makes a certificate that has expired: the probe must not mind.
func certificate(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(1_500_000_000, 0), NotAfter: time.Unix(1_600_000_000, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// server is a backend that runs in this process.
type server struct {
	addr   string
	config *tls.Config
	key    atomic.Pointer[string] // 16 bytes: the name of its ticket key
	old    atomic.Pointer[string] // the name of another whose tickets it takes, nil: none
	least  atomic.Int64           // number of the first ticket that it takes
	issued atomic.Int64           // tickets
	conns  atomic.Int64
	data   atomic.Int64 // bytes of application data received
}

// serve starts a backend. edit changes its config, handle has the conns instead of answer; both may be nil.
func serve(t *testing.T, edit func(*server, *tls.Config), handle func(*server, net.Conn)) *server {
	t.Helper()
	l := listen(t, "127.0.0.1:0")
	s := &server{addr: l.Addr().String(), config: &tls.Config{Certificates: []tls.Certificate{certificate(t)}}}
	if edit != nil {
		edit(s, s.config)
	}
	if handle == nil {
		handle = (*server).answer
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			all.Go(func() { defer c.Close(); handle(s, c) })
		}
	})
	t.Cleanup(func() { l.Close(); all.Wait() })
	return s
}

// answer shakes hands and waits for the client to leave.
func (s *server) answer(c net.Conn) {
	conn := tls.Server(c, s.config)
	n, err := io.Copy(io.Discard, conn)
	s.data.Add(n)
	if err == nil {
		conn.Close()
	}
}

// ignore takes what comes and never answers.
func (*server) ignore(c net.Conn) {
	b := make([]byte, 1024)
	for {
		if _, err := c.Read(b); err != nil {
			return
		}
	}
}

// named makes the server name its ticket keys as OpenSSL does, in the first 16 bytes of each ticket. It refuses those
// of other names.
func named(name string) func(*server, *tls.Config) {
	return func(s *server, cfg *tls.Config) {
		s.rename(name)
		cfg.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
			return s.ticket(cfg, cs, ss)
		}
		cfg.UnwrapSession = func(b []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
			rest, ok := bytes.CutPrefix(b, []byte(*s.key.Load()))
			if old := s.old.Load(); !ok && old != nil {
				rest, ok = bytes.CutPrefix(b, []byte(*old))
			}
			if !ok || int64(rest[0]) < s.least.Load() {
				return nil, nil // how crypto/tls wants to be told that the ticket is not known
			}
			return cfg.DecryptTicket(rest[1:], cs)
		}
	}
}

// ticket is the name of the key, a byte that is never the same twice in a row, so that chance does not make the name
// longer, and what crypto/tls makes of the session.
func (s *server) ticket(cfg *tls.Config, cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
	b, err := cfg.EncryptTicket(cs, ss)
	head := append([]byte(*s.key.Load()), byte(s.issued.Add(1)))
	return append(head, b...), err
}

func (s *server) rename(name string) {
	if len(name) != 16 {
		panic("not 16 bytes: " + name)
	}
	s.key.Store(&name)
}

// takes has it take the tickets of another key too.
func (s *server) takes(name string) { s.old.Store(&name) }

// forget has it refuse the tickets issued up to now, by it and by those that issued no more.
func (s *server) forget() { s.issued.Store(100); s.least.Store(100) }

// both applies two edits.
func both(a, b func(*server, *tls.Config)) func(*server, *tls.Config) {
	return func(s *server, cfg *tls.Config) { a(s, cfg); b(s, cfg) }
}

func versions(lowest, highest uint16) func(*server, *tls.Config) {
	return func(_ *server, cfg *tls.Config) { cfg.MinVersion, cfg.MaxVersion = lowest, highest }
}

// laboratory is a prober over some backends, and what it writes.
type laboratory struct {
	t      *testing.T
	store  *affinity.Store
	pool   *pool.Pool
	known  *affinity.Pool
	prober *Prober
	log    testkit.Log
}

// newLab makes a prober of which nothing runs but the store it teaches.
func newLab(t *testing.T, edit func(*ProbeConfig), addrs ...string) *laboratory {
	t.Helper()
	lab := &laboratory{t: t}
	var specs []pool.Spec
	for _, addr := range addrs {
		specs = append(specs, pool.Spec{Addr: addr})
	}
	var err error
	if lab.pool, err = pool.New("web", specs, pool.Options{}); err != nil {
		t.Fatal(err)
	}
	if lab.store, err = affinity.NewStore(affinity.Config{
		TableEntries: 1024, ClientEntries: 1024,
		Suspect: func(_, id uint32, doubtful bool) { lab.prober.Suspect(id, doubtful) },
	}); err != nil {
		t.Fatal(err)
	}
	lab.known = lab.store.Pool(lab.pool.Hash())
	cfg := ProbeConfig{Store: lab.store, Log: lab.log.Logger(), Timeout: 3 * time.Second}
	if edit != nil {
		edit(&cfg)
	}
	if lab.prober, err = NewProber(lab.pool, cfg); err != nil {
		t.Fatal(err)
	}
	background(t, lab.store.Run, func() { lab.store.Close() })
	return lab
}

// targets are those of the backends, in the order of their addresses.
func (lab *laboratory) targets() []*target {
	var list []*target
	for _, b := range lab.pool.Snapshot().All() {
		list = append(list, newTarget(lab.prober, b))
	}
	return list
}

// round probes a target once.
func (lab *laboratory) round(tg *target) (outcome, Findings) {
	lab.t.Helper()
	result := tg.round(lab.t.Context())
	return result, tg.findings(uint32(time.Now().Unix()))
}

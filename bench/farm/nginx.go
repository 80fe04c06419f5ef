package farm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"homing/bench/proc"
)

// NginxConfig says how one nginx differs from Debian's defaults.
type NginxConfig struct {
	// Name is what the server calls itself in each answer.
	Name string
	// Certificates served, at least one; nginx takes the one that suits the client.
	Certificates []*Certificate
	// NoTickets turns tickets off: TLS 1.2 resumes by session ID, TLS 1.3 by stateful identities.
	NoTickets bool
	// Protocols is nginx's ssl_protocols; empty is "TLSv1.2 TLSv1.3".
	Protocols string
	// TicketKey is the content of an ssl_session_ticket_key file, 48 or 80 bytes (the first 16
	// are the name). Empty: nginx draws its own, which a reload replaces.
	TicketKey []byte
	// SessionCache is nginx's ssl_session_cache; empty is "shared:S:10m".
	SessionCache string
	// SessionTimeout is nginx's ssl_session_timeout; empty is "5m".
	SessionTimeout string
	// AskClient makes nginx ask for a client certificate, and take clients without one.
	AskClient bool
	// EarlyData makes nginx take TLS 1.3 0-RTT data; the header X-Early-Data of an answer is 1 when it came so.
	EarlyData bool
	// Proxy makes it expect a PROXY header; the CLIENT of its answers is whom that names.
	Proxy bool
	// Room is the network namespace that it runs in, and Addr what it listens on there; empty: none, and a free address.
	Room, Addr string
	// Unix makes it listen on a unix socket too, see Nginx.Socket.
	Unix bool
	// QuietLog turns the access log off, for load tests.
	QuietLog bool
}

// Nginx is one running nginx with one worker process, by default a shared session cache of 10 MB and
// a private ticket key. It answers any request with one line: "NAME REUSED PROTOCOL CLIENT", where REUSED is
// nginx's $ssl_session_reused ("r" or "."), so that the server itself says what was accepted.
type Nginx struct {
	name string
	addr string
	room string // network namespace, "" for this process's
	path string // program
	dir  string
	proc *proc.Process
}

// StartNginx writes the configuration to a new directory and starts nginx on a free port. When
// nginx is not installed the error is a *MissingError.
func StartNginx(ctx context.Context, cfg NginxConfig) (*Nginx, error) {
	path, err := find("nginx", "nginx")
	if err != nil {
		return nil, err
	}
	addr := cfg.Addr
	if addr == "" {
		if addr, err = FreeAddr(ctx); err != nil {
			return nil, err
		}
	}
	dir, err := os.MkdirTemp("", "homing-nginx-")
	if err != nil {
		return nil, fmt.Errorf("farm: make directory for nginx: %w", err)
	}
	n := &Nginx{name: cfg.Name, addr: addr, room: cfg.Room, path: path, dir: dir}
	if err = n.write(cfg); err == nil {
		err = n.start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return n, nil
}

// Name returns the name given to StartNginx.
func (n *Nginx) Name() string { return n.name }

// Addr returns the host:port nginx listens on.
func (n *Nginx) Addr() string { return n.addr }

// Socket returns the path of the unix socket that it listens on, with NginxConfig.Unix.
func (n *Nginx) Socket() string { return filepath.Join(n.dir, "nginx.sock") }

// PIDs returns the process IDs of the master and its workers.
func (n *Nginx) PIDs() []int { return n.proc.Tree() }

// workers are the processes of PIDs but for the master.
func (n *Nginx) workers() []int { return n.proc.Tree()[1:] }

// LogPath returns the path of the access log: "REUSED PROTOCOL CLIENT STATUS" per request.
func (n *Nginx) LogPath() string { return filepath.Join(n.dir, "access.log") }

// Reload does what "nginx -s reload" does and returns when no worker of before is left, so that
// every conn from now on meets the new ticket key. Conns open on old workers end within 1 s.
func (n *Nginx) Reload(ctx context.Context) error {
	before := n.workers()
	out, err := exec.CommandContext(ctx, n.path, append(n.args(), "-s", "reload")...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("farm: reload %s: %w: %s", n.name, err, out)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err = proc.Until(ctx, func() (bool, error) {
		now := n.workers()
		old := slices.ContainsFunc(now, func(pid int) bool { return slices.Contains(before, pid) })
		return len(now) > 0 && !old, nil
	})
	if err != nil {
		return fmt.Errorf("farm: wait for the new workers of %s: %w", n.name, err)
	}
	return nil
}

// SetTicketKey replaces the file that NginxConfig.TicketKey became. It holds from the next Reload on.
func (n *Nginx) SetTicketKey(key []byte) error {
	if err := os.WriteFile(filepath.Join(n.dir, ticketKeyFile), key, 0o600); err != nil {
		return fmt.Errorf("farm: replace the ticket key of %s: %w", n.name, err)
	}
	return nil
}

// Kill ends nginx as a crash would. Restart brings it back on the same port.
func (n *Nginx) Kill() { n.proc.Kill() }

// Restart starts a killed nginx again: same port, empty session cache, new ticket key.
func (n *Nginx) Restart(ctx context.Context) error { return n.start(ctx) }

// Stop ends nginx and removes its directory.
func (n *Nginx) Stop() error {
	n.proc.Stop()
	if err := os.RemoveAll(n.dir); err != nil {
		return fmt.Errorf("farm: remove directory of %s: %w", n.name, err)
	}
	return nil
}

func (n *Nginx) args() []string {
	return []string{"-p", n.dir, "-c", filepath.Join(n.dir, "nginx.conf")}
}

func (n *Nginx) start(ctx context.Context) error {
	run := append([]string{n.path}, append(n.args(), "-g", "daemon off;")...)
	if n.room != "" {
		run = append([]string{"ip", "netns", "exec", n.room}, run...) // it becomes nginx
	}
	p, err := Start(ctx, n.addr, run[0], run[1:]...)
	if err != nil {
		return err
	}
	n.proc = p
	return nil
}

// nginxMain is the part of the configuration that does not vary. Every path nginx would open below
// /var is moved, so that it runs without root.
const nginxMain = `worker_processes 1;
worker_shutdown_timeout 1s;
pid nginx.pid;
error_log stderr;
events { worker_connections 4096; }
http {
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	log_format homing '$ssl_session_reused $ssl_protocol $remote_addr $status';
`

// ticketKeyFile lies in the directory of the configuration.
const ticketKeyFile = "ticket.key"

func (n *Nginx) write(cfg NginxConfig) error {
	files := map[string][]byte{}
	var b strings.Builder
	b.WriteString(nginxMain)
	if cfg.QuietLog {
		b.WriteString("\taccess_log off;\n")
	} else {
		b.WriteString("\taccess_log access.log homing;\n")
	}
	expect, client := "", "$remote_addr"
	if cfg.Proxy {
		expect, client = " proxy_protocol", "$proxy_protocol_addr"
	}
	fmt.Fprintf(&b, "\tserver {\n\t\tlisten %s ssl backlog=1024%s;\n", n.addr, expect)
	if cfg.Unix {
		fmt.Fprintf(&b, "\t\tlisten unix:%s ssl%s;\n", n.Socket(), expect)
	}
	for i, c := range cfg.Certificates {
		chain, key := fmt.Sprintf("chain%d.pem", i), fmt.Sprintf("key%d.pem", i)
		files[chain], files[key] = c.Chain, c.Key
		fmt.Fprintf(&b, "\t\tssl_certificate %s;\n\t\tssl_certificate_key %s;\n", chain, key)
	}
	protocols := cfg.Protocols
	if protocols == "" {
		protocols = "TLSv1.2 TLSv1.3"
	}
	tickets := "on"
	if cfg.NoTickets {
		tickets = "off"
	}
	cache := cmp.Or(cfg.SessionCache, "shared:S:10m")
	fmt.Fprintf(&b, "\t\tssl_protocols %s;\n\t\tssl_session_cache %s;\n\t\tssl_session_tickets %s;\n\t\tssl_session_timeout %s;\n",
		protocols, cache, tickets, cmp.Or(cfg.SessionTimeout, "5m"))
	if len(cfg.TicketKey) > 0 {
		files[ticketKeyFile] = cfg.TicketKey
		b.WriteString("\t\tssl_session_ticket_key " + ticketKeyFile + ";\n")
	}
	if cfg.AskClient {
		b.WriteString("\t\tssl_verify_client optional;\n\t\tssl_client_certificate chain0.pem;\n")
	}
	if cfg.EarlyData {
		b.WriteString("\t\tssl_early_data on;\n\t\tadd_header X-Early-Data $ssl_early_data;\n")
	}
	fmt.Fprintf(&b, "\t\tadd_header X-Backend %s;\n", cfg.Name)
	fmt.Fprintf(&b, "\t\treturn 200 \"%s $ssl_session_reused $ssl_protocol %s\\n\";\n\t}\n}\n", cfg.Name, client)
	files["nginx.conf"] = []byte(b.String())
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(n.dir, name), content, 0o600); err != nil {
			return fmt.Errorf("farm: write configuration of nginx: %w", err)
		}
	}
	return nil
}

// StartThree starts three nginx that differ only in their names a, b and c, their session caches
// and, unless cfg gives one, their ticket keys. On error none is left running.
func StartThree(ctx context.Context, cfg NginxConfig) ([]*Nginx, error) {
	var farm []*Nginx
	for _, name := range []string{"a", "b", "c"} {
		cfg.Name = name
		n, err := StartNginx(ctx, cfg)
		if err != nil {
			return nil, errors.Join(err, StopAll(farm))
		}
		farm = append(farm, n)
	}
	return farm, nil
}

// StopAll stops every nginx of the list.
func StopAll(farm []*Nginx) error {
	var errs []error
	for _, n := range farm {
		errs = append(errs, n.Stop())
	}
	return errors.Join(errs...)
}

package farm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"text/template"
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
	// LogPort has each line of the access log end with the client's port.
	LogPort bool
	// QuietLog turns the access log off, for load tests.
	QuietLog bool
	// Load makes room for many conns that stay open for long, logs no conn that a client broke off, and serves ranges of
	// /data, which holds 1 TiB of zeros.
	Load bool
}

// Nginx is one running nginx with one worker process, by default a shared session cache of 10 MB and a private ticket
// key. It answers any request with one line: "NAME REUSED PROTOCOL CLIENT", where REUSED is nginx's $ssl_session_reused
// ("r" or "."), so that the server itself says what was accepted. The headers X-Backend and X-Resumed say the same.
type Nginx struct{ *Server }

// StartNginx writes the configuration to a new directory and starts nginx on a free port. When
// nginx is not installed the error is a *MissingError.
func StartNginx(ctx context.Context, cfg NginxConfig) (*Nginx, error) {
	path, err := Find("nginx", "nginx")
	if err != nil {
		return nil, err
	}
	s, err := Launch(ctx, "nginx", cfg.Name, cfg.Addr, func(s *Server) (Recipe, error) {
		files, err := (&Nginx{s}).files(&cfg)
		run := []string{path, "-p", s.dir, "-c", s.File("nginx.conf"), "-g", "daemon off;"}
		if cfg.Room != "" {
			run = append([]string{"ip", "netns", "exec", cfg.Room}, run...) // it becomes nginx
		}
		return Recipe{Files: files, Program: run[0], Args: run[1:], Forks: true}, err
	})
	if err != nil {
		return nil, err
	}
	return &Nginx{s}, nil
}

// Socket returns the path of the unix socket that it listens on, with NginxConfig.Unix.
func (n *Nginx) Socket() string { return n.File("nginx.sock") }

// LogPath returns the path of the access log: "REUSED PROTOCOL CLIENT STATUS REQUEST-NUMBER" per request, and the
// client's port with NginxConfig.LogPort.
func (n *Nginx) LogPath() string { return n.File("access.log") }

// ticketKeyFile lies in the directory of the configuration.
const ticketKeyFile = "ticket.key"

// nginxConf is the configuration. Every path nginx would open below /var is moved, so that it runs without root.
const nginxConf = `{{if .Root}}user root; # else its workers are nobody, and may not read the directory
{{end}}worker_processes 1;
worker_shutdown_timeout 1s;
pid nginx.pid;
{{if .Load}}worker_rlimit_nofile 65536;
error_log stderr crit;
events { worker_connections 32768; }
{{else}}error_log stderr;
events { worker_connections 4096; }
{{end}}http {
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	log_format homing '$ssl_session_reused $ssl_protocol $remote_addr $status $connection_requests{{if .LogPort}} $remote_port{{end}}';
	access_log {{if .QuietLog}}off{{else}}access.log homing{{end}};
{{if .Load}}	keepalive_timeout 300s;
	keepalive_requests 1000000;
{{end}}	server {
		listen {{.Listen}} ssl backlog=4096{{if .Proxy}} proxy_protocol{{end}};
{{if .Unix}}		listen unix:{{.Socket}} ssl{{if .Proxy}} proxy_protocol{{end}};
{{end}}{{range $i, $c := .Certificates}}		ssl_certificate chain{{$i}}.pem;
		ssl_certificate_key key{{$i}}.pem;
{{end}}		ssl_protocols {{or .Protocols "TLSv1.2 TLSv1.3"}};
		ssl_session_cache {{or .SessionCache "shared:S:10m"}};
		ssl_session_timeout {{or .SessionTimeout "5m"}};
		ssl_session_tickets {{if .NoTickets}}off{{else}}on{{end}};
{{if .TicketKey}}		ssl_session_ticket_key ` + ticketKeyFile + `;
{{end}}{{if .AskClient}}		ssl_verify_client optional;
		ssl_client_certificate chain0.pem;
{{end}}{{if .EarlyData}}		ssl_early_data on;
		add_header X-Early-Data $ssl_early_data;
{{end}}		add_header X-Backend {{.Name}} always;
		add_header X-Resumed $ssl_session_reused always;
{{if .Load}}		location = /data {
			alias {{.Data}};
			output_buffers 2 256k;
		}
{{end}}		location / {
			return 200 "{{.Name}} $ssl_session_reused $ssl_protocol {{if .Proxy}}$proxy_protocol_addr{{else}}$remote_addr{{end}}\n";
		}
	}
}
`

// dataBytes is the size of /data: more than anybody asks for. The file has holes alone, and takes no room.
const dataBytes = int64(1) << 40

// files are those of the configuration; the one of /data is made at once, for its bytes are not there.
func (n *Nginx) files(cfg *NginxConfig) (map[string][]byte, error) {
	files := map[string][]byte{}
	for i, c := range cfg.Certificates {
		files[fmt.Sprintf("chain%d.pem", i)], files[fmt.Sprintf("key%d.pem", i)] = c.Chain, c.Key
	}
	if len(cfg.TicketKey) > 0 {
		files[ticketKeyFile] = cfg.TicketKey
	}
	data := n.File("data")
	if cfg.Load {
		f, err := os.OpenFile(data, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("farm: make data: %w", err)
		}
		if err := errors.Join(f.Truncate(dataBytes), f.Close()); err != nil {
			return nil, fmt.Errorf("farm: make data of %d bytes (it takes no room): %w", dataBytes, err)
		}
	}
	var b strings.Builder
	err := template.Must(template.New("nginx.conf").Parse(nginxConf)).Execute(&b, struct {
		*NginxConfig
		Root                 bool
		Listen, Socket, Data string
	}{cfg, cfg.Load && os.Geteuid() == 0, n.addr, n.Socket(), data})
	files["nginx.conf"] = []byte(b.String())
	return files, err
}

// StartThree starts three nginx that differ only in their names a, b and c, their session caches
// and, unless cfg gives one, their ticket keys. On error none is left running.
func StartThree(ctx context.Context, cfg NginxConfig) ([]*Nginx, error) {
	return StartAll(3, func(i int) (*Nginx, error) {
		one := cfg
		one.Name = string(rune('a' + i))
		return StartNginx(ctx, one)
	})
}

// nginxVersion returns "nginx/1.22.1", or "nginx" if it does not say.
func nginxVersion() string {
	path, err := Find("nginx", "nginx")
	if err != nil {
		return "nginx"
	}
	out, _ := exec.Command(path, "-v").CombinedOutput() // prints and ends
	_, version, _ := strings.Cut(strings.TrimSpace(string(out)), "nginx version: ")
	return cmp.Or(version, "nginx")
}

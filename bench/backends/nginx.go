package backends

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"homing/bench/proc"
)

// dataBytes is the size of /data: more than anybody asks for. The file has holes alone, and takes no room.
const dataBytes = int64(1) << 40

// nginxConf has one worker, room for many idle conns, and every path that nginx would open below /var moved, so that it
// runs without root.
const nginxConf = `%[1]sworker_processes 1;
worker_rlimit_nofile 65536;
pid nginx.pid;
error_log stderr %[9]s;
events { worker_connections 32768; }
http {
	client_body_temp_path body;
	proxy_temp_path proxy;
	fastcgi_temp_path fastcgi;
	uwsgi_temp_path uwsgi;
	scgi_temp_path scgi;
	log_format bench '$ssl_session_reused $ssl_protocol $remote_addr $status $connection_requests';
	access_log %[2]s;
	keepalive_timeout 300s;
	keepalive_requests 1000000;
	server {
		listen %[3]s ssl backlog=4096;
		ssl_certificate chain.pem;
		ssl_certificate_key key.pem;
		ssl_protocols %[4]s;
		ssl_session_cache shared:bench:64m;
		ssl_session_timeout 1h;
		ssl_session_tickets %[5]s;
		ssl_early_data %[6]s;
		add_header X-Backend %[7]s always;
		add_header X-Resumed $ssl_session_reused always;
		location = /data {
			alias %[8]s/data;
			output_buffers 2 256k;
		}
		location / {
			return 200 "%[7]s $ssl_session_reused $ssl_protocol\n";
		}
	}
}
`

// nginx returns the command that starts one nginx in dir, where it writes what that needs.
func (o *Options) nginx(dir, name, addr string) (proc.Command, error) {
	path, err := findNginx()
	if err != nil {
		return proc.Command{}, err
	}
	user := ""
	if os.Geteuid() == 0 { // else its workers are nobody, and may not read the directory
		user = "user root;\n"
	}
	tickets, early, log, level := "on", "off", "off", "crit"
	if o.NoTickets {
		tickets = "off"
	}
	if o.EarlyData {
		early = "on"
	}
	if o.AccessLog {
		log = "access.log bench"
	}
	protocols := o.Protocols
	if protocols == "" {
		protocols = "TLSv1.2 TLSv1.3"
	}
	conf := fmt.Sprintf(nginxConf, user, log, addr, protocols, tickets, early, name, dir, level)
	files := map[string][]byte{"nginx.conf": []byte(conf), "chain.pem": o.Certificate.Chain, "key.pem": o.Certificate.Key}
	for file, content := range files {
		if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
			return proc.Command{}, fmt.Errorf("backends: write files of nginx: %w", err)
		}
	}
	if err := makeData(filepath.Join(dir, "data")); err != nil {
		return proc.Command{}, err
	}
	return proc.Command{
		Path: path, Args: []string{"-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-g", "daemon off;"},
		Ready: []string{addr},
	}, nil
}

// makeData makes the file of zeros.
func makeData(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("backends: make data: %w", err)
	}
	if err := errors.Join(f.Truncate(dataBytes), f.Close()); err != nil {
		return fmt.Errorf("backends: make data of %d bytes (it takes no room): %w", dataBytes, err)
	}
	return nil
}

func findNginx() (string, error) {
	path, err := proc.Find("nginx")
	if err != nil {
		return "", errors.New("nginx is not installed: run apt-get install nginx, or go without --nginx")
	}
	return path, nil
}

// nginxVersion returns "nginx/1.22.1", or "nginx" if it does not say.
func nginxVersion() string {
	path, err := findNginx()
	if err != nil {
		return "nginx"
	}
	out, err := exec.Command(path, "-v").CombinedOutput() //nolint:noctx // prints and ends
	if _, version, ok := strings.Cut(strings.TrimSpace(string(out)), "nginx version: "); ok && err == nil {
		return version
	}
	return "nginx"
}

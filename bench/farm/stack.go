package farm

import (
	"context"
	_ "embed" // for the Java server
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Stack is a TLS server that people run in front of, or in place of, nginx. Each keeps its sessions and ticket keys in
// its own way.
type Stack uint8

// The stacks, by what does their TLS.
const (
	Apache          Stack = iota // OpenSSL: tickets, and session IDs in a shared cache
	HAProxyTLS                   // OpenSSL: tickets, and session IDs
	LighttpdOpenSSL              // OpenSSL: tickets only
	LighttpdNSS                  // NSS, which ends conns that offer it foreign TLS 1.2 tickets
	GnuTLS                       // gnutls-serv: tickets and session IDs; its answers carry no name
	Java                         // JSSE: tickets whose key is named by four bytes, and session IDs
	NumStacks
)

func (s Stack) String() string {
	return [...]string{"apache", "haproxy", "lighttpd-openssl", "lighttpd-nss", "gnutls-serv", "java"}[s]
}

// StartServer starts a server on a free port. It answers any request with one line that begins with its name, unless its
// stack cannot. When a program it needs is not installed the error is a *MissingError.
func StartServer(ctx context.Context, stack Stack, name string, cert *Certificate) (*Server, error) {
	cook := [...]func(*Server) (Recipe, error){
		Apache: apache, HAProxyTLS: haproxyTLS, GnuTLS: gnutlsServ, Java: java,
		LighttpdOpenSSL: func(s *Server) (Recipe, error) { return lighttpd(s, "mod_openssl") },
		LighttpdNSS:     func(s *Server) (Recipe, error) { return lighttpd(s, "mod_nss") },
	}[stack]
	return Launch(ctx, stack.String(), name, "", func(s *Server) (Recipe, error) {
		r, err := cook(s)
		if r.Files == nil {
			r.Files = map[string][]byte{}
		}
		r.Files["chain.pem"], r.Files["key.pem"] = cert.Chain, cert.Key
		r.Files["both.pem"] = append(slices.Clip(cert.Chain), cert.Key...)
		r.Terminate = true // Apache takes an interrupt for itself alone and leaves its workers behind
		return r, err
	})
}

// StartServers starts one server for each name, all at once. On error none is left running.
func StartServers(ctx context.Context, stack Stack, cert *Certificate, names ...string) ([]*Server, error) {
	return startAll(len(names), func(i int) (*Server, error) { return StartServer(ctx, stack, names[i], cert) })
}

// apacheModules is where Debian keeps the modules of Apache and of lighttpd.
const (
	apacheModules   = "/usr/lib/apache2/modules"
	lighttpdModules = "/usr/lib/lighttpd"
)

// apacheConf answers every request with an error document, for which no worker has to open a file: as root Apache
// changes its user, who may not look into the directory. mod_ssl answers 400 to a request without Host behind an SNI.
const apacheConf = `ServerRoot %[1]q
ServerName homing.test
PidFile httpd.pid
DefaultRuntimeDir %[1]q
Listen %[2]s
ErrorLog /dev/stderr
LoadModule mpm_event_module %[3]s/mod_mpm_event.so
LoadModule authz_core_module %[3]s/mod_authz_core.so
LoadModule socache_shmcb_module %[3]s/mod_socache_shmcb.so
LoadModule ssl_module %[3]s/mod_ssl.so
User www-data
Group www-data
SSLSessionCache shmcb:%[1]s/sessions(512000)
SSLProtocol -all +TLSv1.2 +TLSv1.3
SSLEngine on
SSLCertificateFile chain.pem
SSLCertificateKeyFile key.pem
ErrorDocument 400 "%[4]s apache"
ErrorDocument 403 "%[4]s apache"
<Location "/">
	Require all denied
</Location>
`

// apache runs with the event MPM, which is Debian's default: several processes share the cache and the ticket key.
func apache(s *Server) (Recipe, error) {
	path, err := find("apache2", "apache2-bin")
	if err != nil {
		return Recipe{}, err
	}
	conf := fmt.Sprintf(apacheConf, s.dir, s.addr, apacheModules, s.name)
	return Recipe{
		Files: map[string][]byte{"httpd.conf": []byte(conf)}, Program: path, Args: []string{"-D", "FOREGROUND", "-f", s.file("httpd.conf")},
	}, nil
}

const haproxyTLSConf = `global
	nbthread 1
	maxconn 4000
defaults
	mode http
	timeout connect 5s
	timeout client 30s
	timeout server 30s
frontend farm
	bind %s ssl crt %s ssl-min-ver TLSv1.2
	http-request return status 200 content-type text/plain string "%s haproxy"
`

// haproxyTLS ends TLS in HAProxy, which answers itself.
func haproxyTLS(s *Server) (Recipe, error) {
	path, err := find("haproxy", "haproxy")
	if err != nil {
		return Recipe{}, err
	}
	conf := fmt.Sprintf(haproxyTLSConf, s.addr, s.file("both.pem"), s.name)
	return Recipe{
		Files: map[string][]byte{"haproxy.cfg": []byte(conf)}, Program: path, Args: []string{"-db", "-f", s.file("haproxy.cfg")},
	}, nil
}

const lighttpdConf = `server.bind = "127.0.0.1"
server.port = %s
server.document-root = %q
server.modules = ("%s")
index-file.names = ("index.txt")
ssl.engine = "enable"
ssl.pemfile = %q
ssl.privkey = %q
`

func lighttpd(s *Server, module string) (Recipe, error) {
	path, err := find("lighttpd", "lighttpd")
	if err != nil {
		return Recipe{}, err
	}
	if _, err := os.Stat(filepath.Join(lighttpdModules, module+".so")); err != nil {
		return Recipe{}, &MissingError{Program: "lighttpd's " + module, Package: "lighttpd-" + map[string]string{
			"mod_openssl": "mod-openssl", "mod_nss": "mod-nss",
		}[module]}
	}
	files := map[string][]byte{
		"index.txt":     []byte(s.name + " lighttpd\n"),
		"lighttpd.conf": fmt.Appendf(nil, lighttpdConf, s.port(), s.dir, module, s.file("chain.pem"), s.file("key.pem")),
	}
	return Recipe{Files: files, Program: path, Args: []string{"-D", "-f", s.file("lighttpd.conf")}}, nil
}

// gnutlsServ listens on every address: it has no option for one.
func gnutlsServ(s *Server) (Recipe, error) {
	path, err := find("gnutls-serv", "gnutls-bin")
	if err != nil {
		return Recipe{}, err
	}
	return Recipe{Program: path, Args: []string{
		"--http", "--quiet", "--disable-client-cert", "--port", s.port(), "--x509certfile", s.file("chain.pem"), "--x509keyfile", s.file("key.pem"),
	}}, nil
}

//go:embed JSSEServer.java
var javaSource string

// java runs the source file itself, which takes a JDK. Little memory, and the quickest start.
func java(s *Server) (Recipe, error) {
	if _, err := find("javac", "default-jdk-headless"); err != nil {
		return Recipe{}, err
	}
	path, err := find("java", "default-jdk-headless")
	if err != nil {
		return Recipe{}, err
	}
	return Recipe{Files: map[string][]byte{"JSSEServer.java": []byte(javaSource)}, Program: path, Args: []string{
		"-Xmx64m", "-Xshare:auto", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		s.file("JSSEServer.java"), s.name, s.port(), s.file("chain.pem"), s.file("key.pem"),
	}}, nil
}

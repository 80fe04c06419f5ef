package integration

import (
	"context"
	_ "embed" // for the Java server
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"

	"homing/bench/farm"
)

// stack is a TLS server that people run in front of, or in place of, nginx. Each keeps its sessions and ticket keys in
// its own way.
type stack uint8

// The stacks, by what does their TLS.
const (
	apacheStack     stack = iota // OpenSSL: tickets, and session IDs in a shared cache
	haproxyStack                 // OpenSSL: tickets, and session IDs
	lighttpdOpenSSL              // OpenSSL: tickets only
	lighttpdNSS                  // NSS, which ends conns that offer it foreign TLS 1.2 tickets
	gnutlsStack                  // gnutls-serv: tickets and session IDs; its answers carry no name
	javaStack                    // JSSE: tickets whose key is named by four bytes, and session IDs
	numStacks
)

func (s stack) String() string {
	return [...]string{"apache", "haproxy", "lighttpd-openssl", "lighttpd-nss", "gnutls-serv", "java"}[s]
}

// startServer starts a server on a free port. It answers any request with one line that begins with its name, unless its
// stack cannot. When a program it needs is not installed the error is a *farm.MissingError.
func (s stack) startServer(ctx context.Context, name string, cert *farm.Certificate) (*farm.Server, error) {
	cook := [...]func(*farm.Server) (farm.Recipe, error){
		apacheStack: apache, haproxyStack: haproxyTLS, gnutlsStack: gnutlsServ, javaStack: java,
		lighttpdOpenSSL: func(s *farm.Server) (farm.Recipe, error) { return lighttpd(s, "mod_openssl") },
		lighttpdNSS:     func(s *farm.Server) (farm.Recipe, error) { return lighttpd(s, "mod_nss") },
	}[s]
	return farm.Launch(ctx, s.String(), name, "", func(s *farm.Server) (farm.Recipe, error) {
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
func apache(s *farm.Server) (farm.Recipe, error) {
	path, err := farm.Find("apache2", "apache2-bin")
	if err != nil {
		return farm.Recipe{}, err
	}
	conf := fmt.Sprintf(apacheConf, s.Dir(), s.Addr(), apacheModules, s.Name())
	return farm.Recipe{
		Files: map[string][]byte{"httpd.conf": []byte(conf)}, Program: path, Args: []string{"-D", "FOREGROUND", "-f", s.File("httpd.conf")},
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
func haproxyTLS(s *farm.Server) (farm.Recipe, error) {
	path, err := farm.Find("haproxy", "haproxy")
	if err != nil {
		return farm.Recipe{}, err
	}
	conf := fmt.Sprintf(haproxyTLSConf, s.Addr(), s.File("both.pem"), s.Name())
	return farm.Recipe{
		Files: map[string][]byte{"haproxy.cfg": []byte(conf)}, Program: path, Args: []string{"-db", "-f", s.File("haproxy.cfg")},
	}, nil
}

func port(s *farm.Server) string {
	_, port, _ := net.SplitHostPort(s.Addr()) // of farm.FreeAddr
	return port
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

func lighttpd(s *farm.Server, module string) (farm.Recipe, error) {
	path, err := farm.Find("lighttpd", "lighttpd")
	if err != nil {
		return farm.Recipe{}, err
	}
	if _, err := os.Stat(filepath.Join(lighttpdModules, module+".so")); err != nil {
		return farm.Recipe{}, &farm.MissingError{Program: "lighttpd's " + module, Package: "lighttpd-" + map[string]string{
			"mod_openssl": "mod-openssl", "mod_nss": "mod-nss",
		}[module]}
	}
	files := map[string][]byte{
		"index.txt":     []byte(s.Name() + " lighttpd\n"),
		"lighttpd.conf": fmt.Appendf(nil, lighttpdConf, port(s), s.Dir(), module, s.File("chain.pem"), s.File("key.pem")),
	}
	return farm.Recipe{Files: files, Program: path, Args: []string{"-D", "-f", s.File("lighttpd.conf")}}, nil
}

// gnutlsServ listens on every address: it has no option for one.
func gnutlsServ(s *farm.Server) (farm.Recipe, error) {
	path, err := farm.Find("gnutls-serv", "gnutls-bin")
	if err != nil {
		return farm.Recipe{}, err
	}
	return farm.Recipe{Program: path, Args: []string{
		"--http", "--quiet", "--disable-client-cert", "--port", port(s), "--x509certfile", s.File("chain.pem"), "--x509keyfile", s.File("key.pem"),
	}}, nil
}

//go:embed testdata/JSSEServer.java
var javaSource string

// java runs the source file itself, which takes a JDK. Little memory, and the quickest start.
func java(s *farm.Server) (farm.Recipe, error) {
	if _, err := farm.Find("javac", "default-jdk-headless"); err != nil {
		return farm.Recipe{}, err
	}
	path, err := farm.Find("java", "default-jdk-headless")
	if err != nil {
		return farm.Recipe{}, err
	}
	return farm.Recipe{Files: map[string][]byte{"JSSEServer.java": []byte(javaSource)}, Program: path, Args: []string{
		"-Xmx64m", "-Xshare:auto", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		s.File("JSSEServer.java"), s.Name(), port(s), s.File("chain.pem"), s.File("key.pem"),
	}}, nil
}

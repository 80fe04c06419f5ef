package api

import "fmt"

// Access is where an admin server listens and whom it answers.
type Access struct {
	Address Address

	// TokenFile holds, in its first line, what a request must carry as "Authorization: Bearer ...". Empty: none.
	TokenFile string

	// CertFile and KeyFile make the server speak TLS.
	CertFile, KeyFile string

	// ClientCAFile holds the certificates of which one must have signed a client's.
	ClientCAFile string
}

// AccessError says which setting would let in anybody, or contradicts the others.
type AccessError struct {
	Setting string // the name of its flag
	Text    string // names settings as --flag=value
}

func (e *AccessError) Error() string { return e.Text }

// Check refuses what would let in anybody. The error is an *AccessError.
func (a *Access) Check() error {
	wrong := func(setting, format string, args ...any) error {
		return &AccessError{setting, fmt.Sprintf(format, args...)}
	}
	switch {
	case a.CertFile != "" && a.KeyFile == "":
		return wrong("admin-tls-cert", "--admin-tls-cert needs --admin-tls-key: give both, or none")
	case a.CertFile == "" && a.KeyFile != "":
		return wrong("admin-tls-key", "--admin-tls-key needs --admin-tls-cert: give both, or none")
	case a.ClientCAFile != "" && a.CertFile == "":
		return wrong("admin-client-ca", "--admin-client-ca needs --admin-tls-cert and --admin-tls-key: client certificates are a part of TLS")
	case a.CertFile != "" && a.Address.Network == "unix":
		return wrong("admin-tls-cert", "--admin-tls-cert is for TCP: leave it out, or give another --admin than a unix socket")
	case a.Address.TLS:
		return wrong("admin", "--admin=%s: leave out https://, --admin-tls-cert says that it speaks TLS", a.Address)
	case !a.Address.Local() && a.TokenFile == "" && a.ClientCAFile == "":
		return wrong("admin", "--admin=%s can be reached from other machines: give --admin-token-file, or --admin-tls-cert, "+
			"--admin-tls-key and --admin-client-ca, or listen on 127.0.0.1 or unix:/PATH", a.Address)
	}
	return nil
}

package admin

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"homing/cmd/homing/internal/api"
)

// Listen opens the address. inherited, if not nil, is the listening socket of the process that this one takes over
// from: it is used, or closed, in any case. The error is the system's.
func Listen(address api.Address, inherited *os.File) (net.Listener, error) {
	if inherited != nil {
		defer inherited.Close()
		return importListener(address, inherited)
	}
	return address.Listen()
}

func importListener(address api.Address, inherited *os.File) (net.Listener, error) {
	listener, err := net.FileListener(inherited)
	if err != nil {
		return nil, err
	}
	if unix, ok := listener.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(true) // it is ours now
	}
	if have := listener.Addr().Network(); have != address.Network {
		return nil, errors.Join(fmt.Errorf("the inherited socket is %s, not %s", have, address.Network),
			listener.Close())
	}
	return listener, nil
}

// secrets reads what Access names by files: the token, "" without one, and what makes the server speak TLS, nil if it
// does not.
func secrets(access *api.Access, log *slog.Logger) (token string, config *tls.Config, err error) {
	if access.TokenFile != "" {
		if token, err = api.ReadToken(access.TokenFile); err != nil {
			return "", nil, fmt.Errorf("--admin-token-file: %w", err)
		}
		if info, err := os.Stat(access.TokenFile); err == nil && info.Mode().Perm()&0o007 != 0 {
			return "", nil,
				fmt.Errorf("--admin-token-file: %s can be read by everybody on this machine: chmod 640 %[1]s",
					access.TokenFile)
		}
	}
	if access.CertFile == "" {
		if token != "" && !access.Address.Local() {
			log.Warn("the admin token travels in clear: give --admin-tls-cert and --admin-tls-key")
		}
		return token, nil, nil
	}
	cert, err := tls.LoadX509KeyPair(access.CertFile, access.KeyFile)
	if err != nil {
		return "", nil, fmt.Errorf("--admin-tls-cert %s with --admin-tls-key %s: %w", access.CertFile, access.KeyFile,
			err)
	}
	config = &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"},
	}
	if access.ClientCAFile != "" {
		if config.ClientCAs, err = api.ReadRoots(access.ClientCAFile); err != nil {
			return "", nil, fmt.Errorf("--admin-client-ca: %w", err)
		}
		// Without one a client may ask for /healthz and /readyz, and show a token.
		config.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return token, config, nil
}

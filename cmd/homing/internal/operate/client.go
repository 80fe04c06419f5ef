package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/pflag"

	"homing/cmd/homing/internal/api"
	"homing/cmd/homing/internal/value"
	"homing/cmd/internal/usage"
)

const (
	// adminEnv names the environment variable that stands for --admin.
	adminEnv = "HOMING_ADMIN"

	// adminSocket is where the packaged service listens, and adminDefault what the documents use; both for commands
	// that are told nothing.
	adminSocket  = "/run/homing/admin.sock"
	adminDefault = "127.0.0.1:9090"
)

// adminClient finds the admin server of a running node.
type adminClient struct {
	address                              string
	tokenFile, caFile, certFile, keyFile string
}

// bind adds the flags by which the server is found.
func (c *adminClient) bind(flags *pflag.FlagSet) {
	flags.Var(value.Text{P: &c.address, Check: value.CheckAdmin, Kind: "ADDR"}, "admin",
		"the --admin of a running node: HOST:PORT, https://HOST:PORT or unix:/PATH; else $"+adminEnv+", "+
			adminSocket+" or "+adminDefault)
	file := func(p *string, name, doc string) {
		flags.Var(value.Text{P: p, Check: value.CheckPath, Kind: "FILE"}, name, doc)
	}
	file(&c.tokenFile, "admin-token-file", "the token that it wants")
	file(&c.caFile, "admin-ca", "who signed its certificate, PEM; else the system's authorities")
	file(&c.certFile, "admin-cert", "the client certificate to show, PEM")
	file(&c.keyFile, "admin-key", "and its key")
}

// connect makes the client. Nothing is sent yet.
func (c *adminClient) connect() (*api.Client, error) {
	text, from := c.address, "--admin"
	if text == "" {
		text, from = os.Getenv(adminEnv), "$"+adminEnv
	}
	if text == "" {
		text, from = assumeAdmin(adminSocket), "--admin"
	}
	address, err := api.ParseAddress(text)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", from, text, err)
	}
	if (c.certFile == "") != (c.keyFile == "") {
		return nil, errors.New("--admin-cert and --admin-key go together: give both, or none")
	}
	if !address.TLS && cmp.Or(c.caFile, c.certFile) != "" {
		return nil, fmt.Errorf("--admin-ca and --admin-cert are for TLS: write --admin https://%s", address)
	}
	return api.NewClient(api.ClientConfig{
		Address: address, TokenFile: c.tokenFile, CAFile: c.caFile, CertFile: c.certFile, KeyFile: c.keyFile,
	})
}

// get asks for a path once.
func (c *adminClient) get(ctx context.Context, path string, out any) error {
	client, err := c.connect()
	if err != nil {
		return err
	}
	return usage.Failed(client.Get(ctx, path, out))
}

// post sends in to a path, and reads the answer into out.
func (c *adminClient) post(ctx context.Context, path string, in, out any) error {
	client, err := c.connect()
	if err != nil {
		return err
	}
	return usage.Failed(client.Post(ctx, path, in, out))
}

// assumeAdmin is where a node is assumed that nobody has named: at the packaged service's socket if that is there, or
// is kept from this user, who is told so then.
func assumeAdmin(socket string) string {
	info, err := os.Stat(socket)
	if err == nil && info.Mode().Type() == os.ModeSocket || errors.Is(err, fs.ErrPermission) {
		return "unix:" + socket
	}
	return adminDefault
}

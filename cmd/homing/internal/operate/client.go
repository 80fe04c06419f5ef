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
	address          string
	api.ClientConfig // without its Address, which is parsed when it is used
}

// bindBool adds a flag that is on when it is given.
func bindBool(flags *pflag.FlagSet, p *bool, name, doc string) {
	flags.VarPF(value.Bool{P: p}, name, "", doc).NoOptDefVal = "true"
}

// bind adds the flags by which the server is found.
func (c *adminClient) bind(flags *pflag.FlagSet) {
	flags.Var(value.Text{P: &c.address, Check: value.CheckAdmin, Kind: "ADDR"}, "admin",
		"the --admin of a running node: HOST:PORT, https://HOST:PORT or unix:/PATH; else $"+adminEnv+", "+
			adminSocket+" or "+adminDefault)
	file := func(p *string, name, doc string) { flags.Var(value.Path(p, "FILE"), name, doc) }
	file(&c.TokenFile, "admin-token-file", "the token that it wants")
	file(&c.CAFile, "admin-ca", "who signed its certificate, PEM; else the system's authorities")
	file(&c.CertFile, "admin-cert", "the client certificate to show, PEM")
	file(&c.KeyFile, "admin-key", "and its key")
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
	if (c.CertFile == "") != (c.KeyFile == "") {
		return nil, errors.New("--admin-cert and --admin-key go together: give both, or none")
	}
	if !address.TLS && cmp.Or(c.CAFile, c.CertFile) != "" {
		return nil, fmt.Errorf("--admin-ca and --admin-cert are for TLS: write --admin https://%s", address)
	}
	cfg := c.ClientConfig
	cfg.Address = address
	return api.NewClient(cfg)
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

package farm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"homing/bench"
)

const (
	// controlTimeout bounds one command: a backend is up or down within seconds.
	controlTimeout = 30 * time.Second
	// maxInfo bounds what a control address may answer, in bytes.
	maxInfo = 4 << 20
)

// Info is what the control address tells of the backends.
type Info struct {
	ServerName string          `json:"server_name"` // in the certificate
	Roots      string          `json:"roots"`       // what clients have to trust, in PEM
	Describe   string          `json:"describe"`
	Addrs      []string        `json:"addrs"`
	Watched    []bench.Watched `json:"watched"` // in the same order; one that is down has no PIDs
}

// Handler serves GET / (Info), and POST /down and /up with the parameter name. It is meant for loopback: who can
// reach it can stop the backends.
func (b *Backends) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		info := Info{ServerName: BackendsName, Roots: b.Roots(), Describe: b.Describe(), Addrs: b.Addrs(), Watched: b.Watched()}
		_ = json.NewEncoder(w).Encode(info) // the client sees that it is cut short
	})
	act := func(do func(context.Context, string) error) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if err := do(r.Context(), r.FormValue("name")); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		}
	}
	mux.HandleFunc("POST /down", act(b.Down))
	mux.HandleFunc("POST /up", act(b.Up))
	return mux
}

// Remote is a set of Backends in another process, by its control address, HOST:PORT. It is a bench.Teller.
type Remote string

// Info asks for what there is.
func (r Remote) Info(ctx context.Context) (Info, error) {
	var info Info
	b, err := r.ask(ctx, http.MethodGet, "/")
	if err != nil {
		return info, err
	}
	if err := json.Unmarshal(b, &info); err != nil || len(info.Addrs) == 0 {
		return info, fmt.Errorf("farm: %s is not the control address of homing-bench serve", r)
	}
	return info, nil
}

// Down kills a backend.
func (r Remote) Down(ctx context.Context, name string) error { return r.act(ctx, "/down", name) }

// Up starts a backend again.
func (r Remote) Up(ctx context.Context, name string) error { return r.act(ctx, "/up", name) }

// Processes returns the process IDs of a backend; none while it is down.
func (r Remote) Processes(ctx context.Context, name string) ([]int, error) {
	info, err := r.Info(ctx)
	if err != nil {
		return nil, err
	}
	for _, w := range info.Watched {
		if w.Name == name {
			return w.PIDs, nil
		}
	}
	return nil, fmt.Errorf("farm: there is no %s", name)
}

func (r Remote) act(ctx context.Context, path, name string) error {
	_, err := r.ask(ctx, http.MethodPost, path+"?name="+url.QueryEscape(name))
	return err
}

func (r Remote) ask(ctx context.Context, method, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+string(r)+path, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("farm: control address %q: not HOST:PORT", string(r))
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // nor a proxy: it is on this machine
	resp, err := client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("farm: control address %s: %w", r, err)
	}
	defer func() { _ = resp.Body.Close() }() // all has been read by then
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxInfo))
	if err != nil {
		return nil, fmt.Errorf("farm: control address %s: %w", r, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(strings.TrimSpace(string(b)))
	}
	return b, nil
}

var _ bench.Teller = Remote("")

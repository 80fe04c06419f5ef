// Package member is what a node and an agent do alike when they join a cluster: they read their keys, and say who they
// are.
package member

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"

	"homing/cluster"
	"homing/cmd/homing/internal/config"
	"homing/cmd/homing/internal/value"
)

// LoadKeys reads the key file of a flag. Without a file there are no keys.
func LoadKeys(flag, path string, log *slog.Logger) ([][]byte, error) {
	if path == "" {
		return nil, nil
	}
	keys, open, err := cluster.LoadKeys(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("--%s %s does not exist: make one by homing keygen > %s", flag, path, path)
	case err != nil:
		return nil, fmt.Errorf("--%s: %w", flag, err)
	case open:
		log.Warn("a key file can be read by others than its owner: chmod 600 it", slog.String("file", path))
	}
	return keys, nil
}

// Config makes the part of a member's configuration that nodes and agents have in common.
func Config(m *config.Member, stateDir, version string, log *slog.Logger) (cluster.Config, error) {
	cfg := cluster.Config{
		ID: cluster.NewID(), Bind: m.Bind, Advertise: m.Advertise, Join: m.Join, Label: m.Label, Insecure: m.Insecure,
		Meta: cluster.Meta{
			State: cluster.StateServing, Name: HostName(), Version: version[:min(len(version), longestVersion)],
		}, Log: log,
	}
	keys, err := LoadKeys("gossip-key-file", m.GossipKeyFile, log)
	if err != nil {
		return cfg, err
	}
	if keys != nil {
		if cfg.Keys, err = cluster.NewKeyring(keys); err != nil {
			return cfg, err
		}
	}
	if stateDir != "" {
		if cfg.ID, err = cluster.LoadID(stateDir); err != nil {
			return cfg, fmt.Errorf("--state-dir: %w", err)
		}
	}
	return cfg, nil
}

// HostName is the machine's name, as far as it is one that a node may have.
func HostName() string {
	name, err := os.Hostname()
	if err != nil || value.CheckNodeName(name) != nil {
		return "localhost"
	}
	return name
}

// longestVersion is how much of a version metadata has room for, in bytes.
const longestVersion = 64

// Explain words why a member could not be made.
func Explain(m *config.Member, err error) error {
	if errors.Is(err, cluster.ErrNoKey) {
		return fmt.Errorf("--cluster-bind %s without --gossip-key-file: whoever reaches the address could join; give "+
			"a key (homing keygen), or --cluster-insecure", m.Bind)
	}
	return fmt.Errorf("--cluster-bind %s: %w", m.Bind, err)
}

// SameKeys says that two lists of keys are the same.
func SameKeys(a, b [][]byte) bool { return bytes.Equal(bytes.Join(a, nil), bytes.Join(b, nil)) }

package main

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

// loadKeys reads the key file of a flag. Without a file there are no keys.
func loadKeys(flag, path string, log *slog.Logger) ([][]byte, error) {
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

// memberConfig makes the part of a member's configuration that nodes and agents have in common.
func memberConfig(m *config.Member, stateDir string, log *slog.Logger) (cluster.Config, error) {
	cfg := cluster.Config{
		ID: cluster.NewID(), Bind: m.Bind, Advertise: m.Advertise, Join: m.Join, Label: m.Label, Insecure: m.Insecure,
		Meta: cluster.Meta{State: cluster.StateServing, Name: hostName(), Version: softwareVersion()}, Log: log,
	}
	keys, err := loadKeys("gossip-key-file", m.GossipKeyFile, log)
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

// hostName is the machine's name, as far as it is one that a node may have.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || value.CheckNodeName(name) != nil {
		return "localhost"
	}
	return name
}

// softwareVersion is the version, as far as metadata has room for it.
func softwareVersion() string { return version[:min(len(version), 64)] }

// explainMember words why a member could not be made.
func explainMember(m *config.Member, err error) error {
	if errors.Is(err, cluster.ErrNoKey) {
		return fmt.Errorf("--cluster-bind %s without --gossip-key-file: whoever reaches the address could join; give a key (homing keygen), or --cluster-insecure", m.Bind)
	}
	return fmt.Errorf("--cluster-bind %s: %w", m.Bind, err)
}

// sameKeys says that two lists of keys are the same.
func sameKeys(a, b [][]byte) bool { return bytes.Equal(bytes.Join(a, nil), bytes.Join(b, nil)) }

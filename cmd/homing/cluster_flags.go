package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"

	"homing/cluster"
)

// clusterOptions is what the flags of a member say, be it a node or an agent. Without bind there is no cluster.
type clusterOptions struct {
	bind, advertise         netip.AddrPort
	join                    []string
	gossipKeyFile, stateDir string
	label                   string
	insecure                bool
}

// nodeOptions is what the flags say of a node in a cluster.
type nodeOptions struct {
	clusterOptions
	nodeKeyFile     string
	discoverFrom    []discoverSource
	replicationBind netip.AddrPort
}

// discoverSource is one --discover-from: a network, or none at all.
type discoverSource struct {
	network netip.Prefix
	none    bool
}

func memberRows(o *clusterOptions) []flagRow {
	return []flagRow{
		{"cluster-join", listValue[string]{&o.join, parseSeed, "ADDR"}, "a node that is, or will be, there; repeatable; dialled again forever"},
		{"gossip-key-file", stringValue{&o.gossipKeyFile, notEmpty, "FILE"}, "keys that nodes and agents share, one per line as homing keygen prints them, the one in use first"},
		{"cluster-advertise", addrPortValue{&o.advertise}, "where others reach --cluster-bind, when that is another address"},
		{"cluster-label", stringValue{&o.label, checkLabel, "WORD"}, "members with another label are not heard"},
		{"cluster-insecure", boolValue{&o.insecure}, "gossip without a key beyond loopback: whoever reaches the address may join"},
	}
}

func nodeRows(o *nodeOptions) []flagRow {
	rows := []flagRow{
		{"cluster-bind", addrPortValue{&o.bind}, "be a node of a cluster; gossip here, TCP and UDP, such as 192.0.2.1:7946"},
	}
	rows = append(rows, memberRows(&o.clusterOptions)...)
	return append(rows,
		flagRow{"node-key-file", stringValue{&o.nodeKeyFile, notEmpty, "FILE"}, "keys that only nodes share; without it nothing learned is shared, and gossip keys are not rotated"},
		flagRow{"replication-bind", addrPortValue{&o.replicationBind}, "share what is learned here; none: the address of --cluster-bind, the port above"},
		flagRow{"discover-from", listValue[discoverSource]{&o.discoverFrom, parseDiscoverSource, "CIDR|none"}, "agents may announce backends in this network; repeatable; not given: an agent's own address only"},
	)
}

// addrPortValue is an IP address with a port, which may be 0.
type addrPortValue struct{ p *netip.AddrPort }

func (v addrPortValue) Type() string { return "ADDR" }

func (v addrPortValue) String() string {
	if !v.p.IsValid() {
		return ""
	}
	return v.p.String()
}

func (v addrPortValue) Set(s string) error {
	addr, err := netip.ParseAddrPort(s)
	if err != nil {
		return errors.New("not an IP address with a port: write it such as 192.0.2.1:7946 or [2001:db8::1]:7946")
	}
	*v.p = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	return nil
}

func parseSeed(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return s, errors.New("not an address with a port: write it such as 192.0.2.2:7946 or name:7946")
	}
	return s, checkPort(port, 1)
}

func parseDiscoverSource(s string) (discoverSource, error) {
	if s == "none" {
		return discoverSource{none: true}, nil
	}
	prefix, err := netip.ParsePrefix(s)
	if err != nil {
		return discoverSource{}, errors.New("not a network: write it such as 192.0.2.0/24 or 2001:db8::/64, or none")
	}
	return discoverSource{network: prefix.Masked()}, nil
}

func notEmpty(s string) error {
	if s == "" {
		return errors.New("empty: give a path")
	}
	return nil
}

func checkLabel(s string) error {
	if len(s) > 64 {
		return errors.New("longer than 64 bytes")
	}
	return nil
}

// validate refuses what no single flag can see, and what would go unused.
func (o *nodeOptions) validate() error {
	if !o.bind.IsValid() {
		for _, unused := range []struct {
			given bool
			name  string
		}{
			{len(o.join) > 0, "cluster-join"},
			{o.gossipKeyFile != "", "gossip-key-file"},
			{o.nodeKeyFile != "", "node-key-file"},
			{o.replicationBind.IsValid(), "replication-bind"},
			{len(o.discoverFrom) > 0, "discover-from"},
			{o.advertise.IsValid(), "cluster-advertise"},
		} {
			if unused.given {
				return fmt.Errorf("--%s needs --cluster-bind: say where to gossip, such as --cluster-bind 192.0.2.1:7946", unused.name)
			}
		}
		return nil
	}
	for _, from := range o.discoverFrom {
		if from.none && len(o.discoverFrom) > 1 {
			return errors.New("--discover-from none contradicts the others: leave it out, or them")
		}
	}
	if o.nodeKeyFile == "" && o.replicationBind.IsValid() {
		return errors.New("--replication-bind needs --node-key-file: nodes show by its key that they are nodes")
	}
	return nil
}

// discovers says that backends may announce themselves.
func (o *nodeOptions) discovers() bool {
	return o.bind.IsValid() && (len(o.discoverFrom) == 0 || !o.discoverFrom[0].none)
}

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

// config makes the part of a member's configuration that nodes and agents have in common.
func (o *clusterOptions) config(log *slog.Logger) (cluster.Config, error) {
	cfg := cluster.Config{
		ID: cluster.NewID(), Bind: o.bind, Advertise: o.advertise, Join: o.join, Label: o.label, Insecure: o.insecure,
		Meta: cluster.Meta{State: cluster.StateServing, Version: softwareVersion()}, Log: log,
	}
	keys, err := loadKeys("gossip-key-file", o.gossipKeyFile, log)
	if err != nil {
		return cfg, err
	}
	if keys != nil {
		if cfg.Keys, err = cluster.NewKeyring(keys); err != nil {
			return cfg, err
		}
	}
	if o.stateDir != "" {
		if cfg.ID, err = cluster.LoadID(o.stateDir); err != nil {
			return cfg, fmt.Errorf("--state-dir: %w", err)
		}
	}
	return cfg, nil
}

// softwareVersion is the version, as far as metadata has room for it.
func softwareVersion() string { return version[:min(len(version), 64)] }

// explainMember words why a member could not be made.
func (o *clusterOptions) explainMember(err error) error {
	if errors.Is(err, cluster.ErrNoKey) {
		return fmt.Errorf("--cluster-bind %s without --gossip-key-file: whoever reaches the address could join; give a key (homing keygen), or --cluster-insecure", o.bind)
	}
	return fmt.Errorf("--cluster-bind %s: %w", o.bind, err)
}

// sameKeys says that two lists of keys are the same.
func sameKeys(a, b [][]byte) bool { return bytes.Equal(bytes.Join(a, nil), bytes.Join(b, nil)) }

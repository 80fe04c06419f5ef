//go:build linux

package config

import (
	"errors"
	"fmt"
	"strings"

	"homing/balancer"
	"homing/balancer/pool"
	"homing/cmd/homing/internal/value"
)

// The rows of the lists, which no flag can describe but --listen and --backend.

func listenerRows(l *Listener) []Row {
	return []Row{
		{Key: "name", Value: value.Text{P: &l.Name, Check: checkName, Kind: "NAME"}, Doc: "in the log and in metrics; not given: the address", Example: "public"},
		{Key: "address", Value: value.Text{P: &l.Address, Check: checkListen, Kind: "ADDR"}, Doc: "192.0.2.1:443, \"[2001:db8::1]:443\", or :443 for IPv4 and IPv6", Example: ":443"},
		{Key: "default", Value: value.Text{P: &l.Default, Check: checkName, Kind: "NAME"}, Doc: "the pool of what no route takes and of what is no readable hello; not given: that is closed and counted", Example: "www"},
	}
}

func routeRows(r *Route) []Row {
	return []Row{
		{
			Key: "names", Value: value.Several[string]{P: &r.Names, Parse: parseRouteName, Print: value.AsIs, Kind: "NAME"},
			Doc: "server names: exact ones, then the longest \"*.example.org\", which takes all below it; not given: any, and none", Example: "www.example.org",
		},
		{Key: "alpn", Value: value.Several[string]{P: &r.ALPN, Parse: parseALPN, Print: value.AsIs, Kind: "NAME"}, Doc: "only hellos that offer one of these protocols; not given: any", Example: "h2"},
		{Key: "pool", Value: value.Text{P: &r.Pool, Check: checkName, Kind: "NAME"}, Doc: "where they go", Example: "www"},
	}
}

func poolRows(p *Pool) []Row {
	return []Row{
		{Key: "name", Value: value.Text{P: &p.Name, Check: checkName, Kind: "NAME"}, Doc: "in routes, in the log and in metrics; the same on every node", Example: "www"},
	}
}

func backendAddressRows(b *pool.Spec) []Row {
	return []Row{
		{Key: "address", Value: value.Text{P: &b.Addr, Check: checkBackend, Kind: "ADDR"}, Doc: "an address or a name, with its port; a name stands for all its addresses", Example: "192.0.2.11:443"},
	}
}

func backendsValue(all *[]pool.Spec) value.Several[pool.Spec] {
	return value.Several[pool.Spec]{P: all, Parse: parseBackend, Print: printBackend, Kind: "ADDR[,weight=N][,max-conns=N]"}
}

// maxName is as long as a name of a pool can be that agents announce.
const maxName = 64

// checkName checks the name of a listener or pool.
func checkName(s string) error {
	switch {
	case s == "":
		return errors.New("empty: give a name")
	case len(s) > maxName:
		return fmt.Errorf("longer than %d bytes", maxName)
	case strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") != "":
		return errors.New("give letters, digits, dots, hyphens and underscores only")
	}
	return nil
}

func checkListen(s string) error {
	_, err := parseListen(s)
	return err
}

// parseRouteName reads www.example.org or *.example.org.
func parseRouteName(text string) (string, error) {
	if text == "*" {
		return "", errors.New("for any name leave names out of the route")
	}
	rest, wild := strings.CutPrefix(text, "*.")
	name, err := value.ParseServerName(rest)
	switch {
	case err != nil && strings.Contains(rest, "*"):
		return "", errors.New("a star stands for the first labels only: write it such as *.example.org")
	case err != nil && strings.IndexFunc(rest, func(c rune) bool { return c > 0x7f }) >= 0:
		return "", errors.New("TLS carries such names in ASCII: write it as xn--... (idn)")
	case err != nil:
		return "", err
	case wild:
		name = "*." + name
	}
	if _, err := balancer.CheckRouteName(name); err != nil {
		return "", errors.New("not a host name that can be sent: give one such as www.example.org")
	}
	return name, nil
}

package value

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"homing/cmd/homing/internal/api"
)

// AddrPort is an IP address with a port, which may be 0.
type AddrPort struct{ P *netip.AddrPort }

func (v AddrPort) String() string {
	if !v.P.IsValid() {
		return ""
	}
	return v.P.String()
}

// Type implements Value.
func (v AddrPort) Type() string { return "ADDR" }

// Set implements Value.
func (v AddrPort) Set(s string) error {
	addr, err := netip.ParseAddrPort(s)
	if err != nil {
		return errors.New("not an IP address with a port: write it such as 192.0.2.1:7946 or [2001:db8::1]:7946")
	}
	if addr.Addr().Zone() != "" {
		return errors.New("a zone means nothing on other machines: give an address that they can reach")
	}
	*v.P = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	return nil
}

// CheckPath checks the name of a file or directory, which need not exist yet.
func CheckPath(s string) error { return checkGiven(s, "path") }

// CheckName checks the name of something that exists elsewhere.
func CheckName(s string) error { return checkGiven(s, "name") }

func checkGiven(s, what string) error {
	if s == "" {
		return errors.New("empty: give a " + what)
	}
	return CheckPrintable(s)
}

// CheckPrintable refuses what neither a file of settings nor a log can say.
func CheckPrintable(s string) error {
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return errors.New("has a character that is no text: leave it out")
	}
	return nil
}

// maxName bounds a name, in bytes: metadata of the cluster has no more room.
const maxName = 64

// CheckNodeName checks the name of a node: it stands in logs and tables.
func CheckNodeName(s string) error {
	if s == "" || len(s) > maxName || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return fmt.Errorf("is no name of 1 to %d characters of ASCII without spaces", maxName)
	}
	return nil
}

// CheckAdmin checks where the admin server listens, or is found.
func CheckAdmin(s string) error {
	_, err := api.ParseAddress(s)
	return err
}

// CheckPort checks a port of at least the given number.
func CheckPort(s string, least int) error {
	port, err := strconv.Atoi(s)
	if err != nil || port < least || port > 65535 {
		return fmt.Errorf("the port %q is not a number from %d to 65535", s, least)
	}
	return nil
}

// ParseHostPort reads the address of another machine, which may be a name.
func ParseHostPort(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return s, errors.New("not an address with a port: write it such as 192.0.2.2:7946 or name:7946")
	}
	return s, CheckPort(port, 1)
}

// ParseServerName reads a host name as TLS sends it (RFC 6066, section 3): in lower case, without the last dot.
func ParseServerName(text string) (string, error) {
	name := strings.TrimSuffix(strings.ToLower(text), ".")
	if _, err := netip.ParseAddr(name); err == nil {
		return "", errors.New("an IP address is no server name: give a host name, such as www.example.org")
	}
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-_."
	if name == "" || len(name) > 253 || strings.Contains("."+name+".", "..") || strings.Trim(name, letters) != "" {
		return "", errors.New("not a host name: give one such as www.example.org")
	}
	return name, nil
}

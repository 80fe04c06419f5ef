package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"homing/balancer/health"
	"homing/balancer/netaddr"
	"homing/cmd/homing/internal/value"
)

// portValue is a port, of which zero has a word.
type portValue struct {
	p    *uint16
	zero string
}

func (v portValue) String() string {
	if *v.p == 0 {
		return v.zero
	}
	return strconv.Itoa(int(*v.p))
}

// Type implements value.Value.
func (v portValue) Type() string { return "number" }

// Set implements value.Value.
func (v portValue) Set(s string) error {
	if s == v.zero {
		*v.p = 0
		return nil
	}
	port := 0
	if err := (value.Int{P: &port, Min: 1, Max: 65535}).Set(s); err != nil {
		return fmt.Errorf("%w, or %s", err, v.zero)
	}
	*v.p = uint16(port)
	return nil
}

// modeValue is the permission bits of a file, in octal.
type modeValue struct{ p *uint32 }

func (v modeValue) String() string { return strconv.FormatUint(uint64(*v.p), 8) }

// Type implements value.Value.
func (v modeValue) Type() string { return "MODE" }

// Set implements value.Value.
func (v modeValue) Set(s string) error {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n == 0 || n > 0o777 {
		return errors.New("not the permissions of a file: write them in octal, such as 660 or 666")
	}
	*v.p = uint32(n)
	return nil
}

// orNone is a number of which zero is written none.
type orNone struct {
	value.Value
	zero func() bool
	none func()
}

func noneInt(v value.Int) value.Value {
	return orNone{v, func() bool { return *v.P == 0 }, func() { *v.P = 0 }}
}

func noneRatio(v value.Ratio) value.Value {
	return orNone{v, func() bool { return *v.P == 0 }, func() { *v.P = 0 }}
}

func noneBytes(v value.Bytes) value.Value {
	return orNone{v, func() bool { return *v.P == 0 }, func() { *v.P = 0 }}
}

func (v orNone) String() string {
	if v.zero() {
		return "none"
	}
	return v.Value.String()
}

// Set implements value.Value.
func (v orNone) Set(s string) error {
	if s == "none" {
		v.none()
		return nil
	}
	if err := v.Value.Set(s); err != nil {
		return fmt.Errorf("%w, or none", err)
	}
	return nil
}

// autoBytes is a size of which zero is written auto.
type autoBytes value.Bytes

func (v autoBytes) String() string {
	if *v.P == 0 {
		return "auto"
	}
	return value.Bytes(v).String()
}

// Type implements value.Value.
func (v autoBytes) Type() string { return value.Bytes(v).Type() }

// Set implements value.Value.
func (v autoBytes) Set(s string) error {
	if s == "auto" {
		*v.P = 0
		return nil
	}
	if err := value.Bytes(v).Set(s); err != nil {
		return fmt.Errorf("%w, or auto", err)
	}
	return nil
}

// serverName is a host name as TLS sends it.
func serverName(p *string) value.Value { return nameValue{value.Text{P: p, Kind: "NAME"}} }

type nameValue struct{ value.Text }

// Set implements value.Value.
func (v nameValue) Set(s string) error {
	name, err := value.ParseServerName(s)
	if err == nil {
		*v.P = name
	}
	return err
}

func parseSource(s string) (netip.Addr, error) {
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.IsUnspecified() || addr.IsMulticast() {
		return addr, errors.New("not an address of a machine: write it such as 192.0.2.2 or 2001:db8::2")
	}
	return addr.Unmap(), netaddr.CheckZone(addr)
}

func parseStatus(s string) (health.StatusRange, error) {
	status, err := health.ParseStatusRange(s)
	if err != nil {
		return status, errors.New("not a status of HTTP: write it such as 200 or 200-399")
	}
	return status, nil
}

// checkMethod checks a method (RFC 9110, section 9.1), which is a token.
func checkMethod(s string) error {
	if s == "" || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
		return errors.New("not a method of HTTP: write it such as GET or HEAD")
	}
	return nil
}

func checkURLPath(s string) error {
	if !strings.HasPrefix(s, "/") || strings.ContainsAny(s, " #") {
		return errors.New("not a path: write it such as /health")
	}
	return value.CheckPrintable(s)
}

// parseALPN reads the name of a protocol (RFC 7301, section 3.1).
func parseALPN(text string) (string, error) {
	if text == "" || len(text) > 255 || value.CheckPrintable(text) != nil {
		return "", errors.New("not the name of a protocol, such as h2 or http/1.1")
	}
	return text, nil
}

package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"mime"
	"net"
	"net/http"
	"strings"

	"homing/cmd/homing/internal/api"
)

// guard decides who may ask, before any handler runs.
//
// On loopback and on a unix socket everybody may who can reach it; then what has to be kept out is the web: pages in a
// browser on this machine. Their requests carry the name of their own site as Host (DNS rebinding) or as Origin (CSRF),
// and none of them can send application/json to another origin without asking first, which is never granted.
type guard struct {
	local   bool               // loopback or a unix socket
	hosts   bool               // TCP on loopback: Host must be this machine
	token   *[sha256.Size]byte // hash of the token, nil without one
	crossed *http.CrossOriginProtection
}

// newGuard asks for the token, unless that is "".
func newGuard(address api.Address, token string) *guard {
	g := &guard{
		local: address.Local(), hosts: address.Local() && address.Network == "tcp",
		crossed: http.NewCrossOriginProtection(),
	}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		g.token = &sum
	}
	return g
}

// check says why a request is refused, or nil.
func (g *guard) check(e *endpoint, r *http.Request) error {
	if g.hosts && !api.LocalHost(hostOf(r.Host)) {
		return refusef(http.StatusMisdirectedRequest,
			"the host %.100q is not this machine: use localhost or its address", r.Host)
	}
	if err := g.crossed.Check(r); err != nil {
		return refusef(http.StatusForbidden, "a page of another site may not do this")
	}
	if !e.open && !g.admits(r) {
		return refusef(http.StatusUnauthorized, "who asks is not known")
	}
	if e.request != nil {
		if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil ||
			media != "application/json" {
			return refusef(http.StatusUnsupportedMediaType, "send it as Content-Type: application/json")
		}
	}
	return nil
}

// admits reports whether whoever asks has shown a token or a certificate, where that is needed. The server's TLS has
// verified the certificate, if there is one.
func (g *guard) admits(r *http.Request) bool {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	if g.token == nil {
		return g.local
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	sum := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1 && ok
}

// hostOf is a Host without its port.
func hostOf(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

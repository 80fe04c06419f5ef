package balancers

import (
	"fmt"
	"slices"
	"strings"
)

// Balancer is one way to stand before backends.
type Balancer struct {
	// Key names it on the command line and in files, and never changes its meaning.
	Key string
	// Name is for people.
	Name string
	// Family groups what belongs to one program: "direct", "homing", "haproxy", "nginx".
	Family string
	// About says in one clause how it finds a backend.
	About string

	engine string                      // of homing; "" is its own choice
	config func(*launch, *node) string // of a program that reads a file
}

// The keys of All.
const (
	Direct        = "direct"
	Homing        = "homing"
	HomingURing   = "homing-io_uring"
	HomingEpoll   = "homing-epoll"
	HAProxyRR     = "haproxy-rr"
	HAProxyID     = "haproxy-id"
	HAProxySource = "haproxy-source"
	NginxRR       = "nginx-rr"
	NginxHash     = "nginx-hash"
)

// Families of balancers.
const (
	FamilyDirect  = "direct"
	FamilyHoming  = "homing"
	FamilyHAProxy = "haproxy"
	FamilyNginx   = "nginx"
)

// All lists what can be compared, in the order of tables. "homing" stands for the engine that homing takes by itself; it
// is offered in place of the two that are named where the binary has no choice.
func All() []Balancer {
	return []Balancer{
		{Key: Direct, Name: "direct", Family: FamilyDirect, About: "no balancer, one backend"},
		{Key: Homing, Name: "homing", Family: FamilyHoming, About: "sends a session home, else round robin"},
		{Key: HomingURing, Name: "homing (io_uring)", Family: FamilyHoming, About: "sends a session home, else round robin", engine: "io_uring"},
		{Key: HomingEpoll, Name: "homing (epoll)", Family: FamilyHoming, About: "sends a session home, else round robin", engine: "epoll"},
		{Key: HAProxyRR, Name: "HAProxy round robin", Family: FamilyHAProxy, About: "balance roundrobin", config: haproxyRoundRobin},
		{
			Key: HAProxyID, Name: "HAProxy session ID", Family: FamilyHAProxy,
			About: "stick table on payload_lv(43,1), learned from ServerHellos", config: haproxySessionID,
		},
		{Key: HAProxySource, Name: "HAProxy source", Family: FamilyHAProxy, About: "balance source", config: haproxySource},
		{Key: NginxRR, Name: "nginx round robin", Family: FamilyNginx, About: "stream, round robin", config: nginxRoundRobin},
		{Key: NginxHash, Name: "nginx hash", Family: FamilyNginx, About: "stream, hash $remote_addr consistent", config: nginxHash},
	}
}

// Select returns what a list on the command line asks for, in the order of All: keys, or families, which stand for all
// their members. An empty list asks for all.
func Select(words []string) ([]Balancer, error) {
	all := All()
	if len(words) == 0 {
		return all, nil
	}
	var known []string
	for _, b := range all {
		known = append(known, b.Key)
		if !slices.Contains(known, b.Family) {
			known = append(known, b.Family)
		}
	}
	for _, w := range words {
		if !slices.ContainsFunc(all, func(b Balancer) bool { return b.Key == w || b.Family == w }) {
			return nil, fmt.Errorf("%q is no balancer: take %s", w, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(all, func(b Balancer) bool {
		return !slices.Contains(words, b.Key) && !slices.Contains(words, b.Family)
	}), nil
}

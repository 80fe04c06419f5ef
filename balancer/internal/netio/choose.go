//go:build linux

package netio

import "fmt"

// Kind is a kind of engine.
type Kind uint8

// The kinds.
const (
	// KindAuto is io_uring where the kernel lets it be fast, epoll elsewhere.
	KindAuto Kind = iota
	KindUring
	KindEpoll
)

func (k Kind) String() string { return [...]string{"auto", "io_uring", "epoll"}[k] }

// Choice is an engine to use.
type Choice struct {
	Kind Kind   // KindUring or KindEpoll
	Why  string // in words for a log
}

// Choose settles which engine k is on this machine. It fails if k is KindUring and the kernel refuses.
func Choose(k Kind) (Choice, error) {
	if k == KindEpoll {
		return Choice{KindEpoll, "asked for"}, nil
	}
	f, reason := Probe()
	return choose(k, f, reason)
}

func choose(k Kind, f Features, reason string) (Choice, error) {
	switch {
	case k == KindUring && reason != "":
		return Choice{}, fmt.Errorf("cannot use io_uring: %s; use --engine epoll or auto", reason)
	case k == KindUring && !f.Fast():
		return Choice{KindUring, "asked for; epoll is faster on this kernel, which lacks " + (fast &^ f).String()}, nil
	case k == KindUring:
		return Choice{KindUring, "asked for"}, nil
	case reason != "":
		return Choice{KindEpoll, "no io_uring: " + reason}, nil
	case !f.Fast():
		return Choice{KindEpoll, "this kernel's io_uring lacks " + (fast &^ f).String() + ", Linux 6.1 has it"}, nil
	}
	return Choice{KindUring, "the kernel has " + f.String()}, nil
}

// Open makes an engine whose pool has the given soft limit in bytes.
func (c Choice) Open(bufferLimit int64) (Engine, error) {
	if c.Kind == KindUring {
		return NewUring(bufferLimit)
	}
	return NewEpoll(bufferLimit)
}

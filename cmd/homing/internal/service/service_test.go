//go:build linux

package service

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestExplainListen(t *testing.T) {
	wrapped := func(errno syscall.Errno) error {
		return &net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", errno)}
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{wrapped(syscall.EADDRINUSE), "--listen :443: address already in use: stop what holds it (ss -ltnp 'sport = :443'), or choose another"},
		{wrapped(syscall.EACCES), "--listen :443: permission denied: ports below 1024 need root or the capability net_bind_service; or choose another"},
		{wrapped(syscall.EADDRNOTAVAIL), "--listen :443: this machine has no such address: choose one of its own (ip addr), or leave the host out"},
		{wrapped(syscall.EAFNOSUPPORT), "--listen :443: this machine has no address of that family: choose another"},
		{syscall.EADDRINUSE, "--listen :443: address already in use: stop what holds it (ss -ltnp 'sport = :443'), or choose another"},
		{fmt.Errorf("odd: %w", fs.ErrInvalid), "--listen :443: cannot listen: odd: invalid argument"},
	} {
		if got := explainListen("--listen", ":443", tt.err).Error(); got != tt.want {
			t.Errorf("%v:\n%q, want\n%q", tt.err, got, tt.want)
		}
	}
	for err, want := range map[error]string{
		syscall.EADDRINUSE: "somebody listens at it: stop that (ss -lxp src /run/x/a.sock), or choose another path",
		syscall.ENOENT:     "there is no directory /run/x: make it, in a unit by RuntimeDirectory=, or choose another",
		syscall.EACCES:     "permission denied: this user has to be able to write to /run/x; or choose another",
		syscall.EROFS:      "cannot listen: read-only file system",
	} {
		want = "--listen unix:/run/x/a.sock: " + want
		if got := explainListen("--listen", "unix:/run/x/a.sock", fmt.Errorf("wrapped: %w", err)).Error(); strings.Replace(got, "wrapped: ", "", 1) != want {
			t.Errorf("%v:\n%q, want\n%q", err, got, want)
		}
	}
}

func TestConnsFor(t *testing.T) {
	for files, want := range map[uint64]int{0: 1, 100: 1, 102: 1, 104: 2, 1024: 462, 20_000: 9950, 1 << 63: mostConns} {
		got := connsFor(files)
		if got != want {
			t.Errorf("%d files: %d conns, want %d", files, got, want)
		}
		if files >= 102 && uint64(got)*2+spareFiles > files {
			t.Errorf("%d files: %d conns do not fit", files, got)
		}
	}
}

func TestFileLimitWarn(t *testing.T) {
	for _, tt := range []struct {
		why   string
		limit fileLimit
		want  string
	}{
		{"just enough", fileLimit{files: 2100}, ""},
		{"one too few", fileLimit{files: 2099}, "level=WARN msg=\"the limit of open files is too low for --max-conns: " +
			"raise it (ulimit -Hn, LimitNOFILE=) or lower --max-conns\" limit=2099 needed=2100 max_conns=1000\n"},
		{"enough, but not raised", fileLimit{files: 5000, err: errors.New("why not")}, "level=WARN msg=\"the limit of open files " +
			"could not be raised\" limit=5000 error=\"why not\"\n"},
	} {
		var out bytes.Buffer
		tt.limit.warn(timeless(&out), 1000)
		if out.String() != tt.want {
			t.Errorf("%s:\n%s, want\n%s", tt.why, &out, tt.want)
		}
	}
}

// timeless is the text log without its time.
func timeless(out *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

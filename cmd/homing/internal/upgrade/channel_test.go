//go:build linux

package upgrade

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"homing/bench/testkit"
)

// channels is both ends in one process.
func channels(t *testing.T) (a, b *channel) {
	t.Helper()
	a, file, err := newChannels()
	testkit.Check(t, err)
	fd, err := duplicate(file)
	testkit.Check(t, err)
	testkit.Check(t, file.Close())
	b, err = openChannel(fd)
	testkit.Check(t, err)
	t.Cleanup(func() { a.close(); b.close() })
	return a, b
}

// Parcels arrive as they were sent, however many files and however long letters they have.
func TestParcelPasses(t *testing.T) {
	for _, n := range []int{0, 1, maxFiles, maxFiles + 1, 600} {
		a, b := channels(t)
		before := descriptors(t)
		var p Parcel
		dir := t.TempDir()
		for i := range n {
			file, err := os.Create(dir + "/" + string(rune('a'+i%26)))
			testkit.Check(t, err)
			fd, err := duplicate(file)
			testkit.Check(t, err)
			testkit.Check(t, file.Close())
			p.Add(string(rune('a'+i%26)), fd)
		}
		long := strings.Repeat("a letter of some length ", 50_000)
		testkit.Check(t, p.Write("long", long))
		sent := make(chan error, 1)
		go func() { sent <- a.sendParcel(t.Context(), &p) }()
		got, err := b.receiveParcel(t.Context())
		testkit.Check(t, err)
		testkit.Check(t, <-sent)
		p.Close()
		var letter string
		if found, err := got.Read("long", &letter); !found || err != nil || letter != long {
			t.Errorf("%d files: the letter is another: %v, %v", n, found, err)
		}
		if found, err := got.Read("none", &letter); found || err != nil {
			t.Errorf("a letter that nobody wrote: %v, %v", found, err)
		}
		var number int
		if _, err := got.Read("long", &number); err == nil {
			t.Error("a text was read as a number")
		}
		if len(got.files) != n {
			t.Errorf("%d files, want %d", len(got.files), n)
		}
		for _, f := range got.files {
			var st unix.Stat_t
			testkit.Check(t, unix.Fstat(f.fd, &st))
			want, err := os.Stat(dir + "/" + f.name)
			testkit.Check(t, err)
			if have := os.NewFile(uintptr(f.fd), ""); have != nil {
				info, err := have.Stat()
				testkit.Check(t, err)
				if !os.SameFile(info, want) {
					t.Errorf("file %s is another one", f.name)
				}
				testkit.Check(t, have.Close())
			}
			if flags, err := unix.FcntlInt(uintptr(f.fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
				t.Error("a file that children get")
			}
		}
		if now := descriptors(t); now != before {
			t.Errorf("%d descriptors, before %d", now, before)
		}
	}
	if err := new(Parcel).Write("x", func() {}); err == nil {
		t.Error("a function in a letter")
	}
}

// What cannot be a message is refused, and the files that came with it are closed.
func TestChannelRefuses(t *testing.T) {
	file, err := os.Open(os.DevNull)
	testkit.Check(t, err)
	defer file.Close()
	for why, bytes := range map[string]string{
		"nothing":              "",
		"half a length":        "\x00\x00",
		"half a message":       "\x00\x00\x00\x10{",
		"too long a message":   "\x7f\x00\x00\x00{}",
		"no JSON":              "\x00\x00\x00\x02{]",
		"names without a file": "\x00\x00\x00\x12{\"names\":[\"a\",\"b\"]}",
	} {
		a, b := channels(t)
		before := descriptors(t)
		_, _, err := a.conn.WriteMsgUnix([]byte(bytes), unix.UnixRights(int(file.Fd())), nil)
		if bytes != "" {
			testkit.Check(t, err)
		}
		testkit.Check(t, a.conn.CloseWrite())
		if m, err := b.receive(t.Context()); err == nil {
			t.Errorf("%s: %+v", why, m)
		}
		if now := descriptors(t); now != before {
			t.Errorf("%s: %d descriptors, before %d", why, now, before)
		}
	}
	a, b := channels(t)
	if err := a.send(t.Context(), &message{Names: []string{"x"}}); err == nil {
		t.Error("a name without a file was sent")
	}
	if err := a.send(t.Context(), &message{Letters: map[string]json.RawMessage{"x": json.RawMessage(`"` + strings.Repeat("x", maxLetter) + `"`)}}); err == nil {
		t.Error("too long a message was sent")
	}
	// Somebody who says nothing is waited for as long as one wants, and who is gone not at all.
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := b.receive(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a message out of nothing: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := b.receive(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a message out of nothing: %v", err)
	}
	a.close()
	if _, err := b.receive(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("from nobody: %v", err)
	}
	if _, err := openChannel(987); err == nil {
		t.Error("a channel without a socket")
	}
}

func TestImportRefuses(t *testing.T) {
	for _, text := range []string{"x", "2", "-1", "987"} {
		t.Setenv(envHeir, text)
		if _, err := Import(); err == nil || !strings.Contains(err.Error(), "leave it out") {
			t.Errorf("%s=%s: %v", envHeir, text, err)
		}
	}
	// Without an elder and without systemd there is nothing, and all goes on at once.
	e, err := Import()
	testkit.Check(t, err)
	testkit.Check(t, e.Ready(t.Context(), nil))
	if _, err := e.Serving(t.Context(), nil).Read("x", new(int)); err != nil || e.Elder != 0 {
		t.Error(err, e.Elder)
	}
	e.Done()
}

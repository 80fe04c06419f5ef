package proc

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"
)

const patience = 20 * time.Second

// script starts a shell that has printed "ready" when Start returns.
func script(t *testing.T, text string) *Process {
	t.Helper()
	p, err := Start(t.Context(), Command{Path: "/bin/sh", Args: []string{"-c", text}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := Until(ctx, func() (bool, error) { return strings.Contains(p.Output(), "ready"), nil }); err != nil {
		t.Fatalf("%v: %s", err, p.Output())
	}
	return p
}

func TestKillTakesTheWholeTree(t *testing.T) {
	p := script(t, "sh -c 'sleep 600 & echo ready; wait' & wait")
	all := p.Tree()
	if len(all) != 3 {
		t.Fatalf("a shell, its child and its grandchild are processes %v", all)
	}
	p.Kill()
	if p.Running() || anyAlive(all) {
		t.Error("Kill returned while a process of the tree was alive")
	}
	p.Kill() // a second time does nothing
}

func TestStopKillsWhatOutlivesItsParent(t *testing.T) {
	p := script(t, "trap 'exit 0' INT; sh -c 'trap \"\" INT; sleep 600 & echo ready; wait' & wait")
	all := p.Tree()
	p.Stop()
	if len(all) != 3 || p.Running() {
		t.Fatalf("processes %v, running %v", all, p.Running())
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := Until(ctx, func() (bool, error) { return !anyAlive(all), nil }); err != nil {
		t.Errorf("Stop left a process of %v behind", all)
	}
}

func TestStartWaitsUntilEveryAddressAccepts(t *testing.T) {
	first, second := listen(t), listen(t)
	p, err := Start(t.Context(), Command{
		Path: "/bin/sleep", Args: []string{"600"}, Ready: []string{first, second},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	gone := listen(t)
	_, err = Start(t.Context(), Command{
		Path: "/bin/sleep", Args: []string{"600"}, Ready: []string{first, closed(t, gone)}, ReadyTimeout: 50 * time.Millisecond,
	})
	if err == nil || !strings.Contains(err.Error(), "sleep does not accept on 127.0.0.1:") {
		t.Errorf("an address that nothing accepts on: %v", err)
	}
}

func TestStartTellsWhyAProgramEnded(t *testing.T) {
	_, err := Start(t.Context(), Command{
		Path: "/bin/sh", Args: []string{"-c", "echo starting; echo 'no backend: name one' >&2; echo; exit 2"},
		Ready: []string{closed(t, listen(t))},
	})
	if want := "sh ended before it was ready: no backend: name one"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
	if _, err := Start(t.Context(), Command{Path: "/nonexistent"}); err == nil {
		t.Error("a program that does not exist was started")
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	w := &tail{}
	for range 3 {
		if n, err := w.Write([]byte(strings.Repeat("a", tailBytes))); n != tailBytes || err != nil {
			t.Fatal(n, err)
		}
	}
	if _, err := w.Write([]byte("end")); err != nil {
		t.Fatal(err)
	}
	if s := w.String(); len(s) != tailBytes || !strings.HasSuffix(s, "aend") {
		t.Errorf("%d bytes, ending %q", len(s), s[len(s)-4:])
	}
}

func listen(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// closed returns an address beside the given one that refuses.
func closed(t *testing.T, open string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if l.Close() != nil || addr == open {
		t.Fatal("no second port")
	}
	return addr
}

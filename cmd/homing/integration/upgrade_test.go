package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"homing/bench/farm"
	"homing/bench/testkit"
)

// mixed is three streams of users, one for each way to resume.
func mixed(t *testing.T, addr string, cert *farm.Certificate) [][]user {
	t.Helper()
	return [][]user{
		users(t, addr, 4, goUser(cert, tls.VersionTLS12)),
		users(t, addr, 4, goUser(cert, tls.VersionTLS13)),
		users(t, addr, 4, idUser(cert)),
	}
}

// clusterFlags makes a node of a town of a lineage.
func (w *town) clusterFlags(tb testing.TB, gossip string) []string {
	tb.Helper()
	flags := []string{
		"--cluster-bind", gossip, "--replication-bind", testkit.FreeAddr(tb), "--gossip-key-file", w.gossipKey, "--node-key-file", w.nodeKey,
	}
	for _, one := range w.nodes {
		flags = append(flags, "--cluster-join", one.gossip)
	}
	return flags
}

// Five upgrades in a row under a constant load that resumes, each while the processes before still drain: no conn fails,
// none is refused, no session is lost, open conns stay open, and the other node of the cluster sees one node throughout.
func TestIntegrationUpgrade(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	w := newTown(t, "--log-level", "info")
	for _, addr := range addrs(servers) {
		w.flags = append(w.flags, "--backend", addr)
	}
	w.build(t, 1)
	peer := w.nodes[0]
	l := newLineage(t, addrs(servers), w.clusterFlags(t, testkit.FreeAddr(t))...)
	l.start(t)
	testkit.Eventually(t, "the nodes meet", func() bool { return peer.members(t, "node", "alive") == 1 && l.members(t, "alive") == 1 })
	streams := func() float64 { return peer.sum(t, "homing_replication_streams_total", "") }
	testkit.Eventually(t, "they share what they learn", func() bool { return streams() > 0 })

	lists := mixed(t, l.addr, cert)
	clients := startLoad(t, l.addr, lists...)
	clients.more(t, 150) // every ticket key is known by then
	clients.forget()
	var open []*kept
	pids := []int{l.newest}
	resyncs := peer.sum(t, "homing_replication_resyncs_total", "")
	for i := range 5 {
		before := streams()
		open = append(open, keep(t, l.addr, cert))
		if i%2 == 0 {
			l.upgradeBySignal(t)
		} else if err := l.upgrade(t); err != "" {
			t.Fatal(err)
		}
		pids = append(pids, l.newest)
		clients.more(t, 60)
		for _, k := range open {
			k.ask(t)
		}
		testkit.Eventually(t, "they share what they learn again", func() bool { return streams() > before })
	}
	if got := l.alive(t); !slices.Equal(got, slices.Sorted(slices.Values(pids))) {
		t.Errorf("processes %v, want %v: each has an open conn", got, pids)
	}
	clients.more(t, 60)
	seen := clients.end(t)
	t.Logf("5 upgrades: %v", &seen)
	testkit.Eventually(t, "the elder has one conn, as its heir says", func() bool { return l.metrics(t)["homing_elder_conns_open"] == 1 })
	testkit.Eventually(t, "all is shared", func() bool { return l.sum(t, "homing_replication_unacked_facts", "") == 0 })
	// What the clients have got since through any of the processes, the other node knows.
	for i, list := range lists {
		if c := reconnect(t, peer.addr, list, 20); c.refused() > 0 {
			t.Errorf("stream %d at the other node: %v", i, &c)
		}
	}
	if n := peer.sum(t, "homing_replication_resyncs_total", ""); n != resyncs {
		t.Errorf("the other node sent the whole table %v times", n-resyncs)
	}
	for _, k := range open {
		k.ask(t)
		k.conn.Close()
	}
	testkit.Eventually(t, "the older processes end", func() bool { return slices.Equal(l.alive(t), []int{l.newest}) })
	testkit.Eventually(t, "the newest says nothing of an elder that is gone", func() bool {
		_, there := l.metrics(t)["homing_elder_conns_open"]
		return !there
	})
	events := peer.proc.Output()
	for _, word := range []string{"member vanished", "member left", "member changed", "member is refused", "uspect"} {
		if strings.Contains(events, word) {
			t.Errorf("the other node says %q:\n%s", word, events)
		}
	}
	if n := strings.Count(events, "member joined"); n != 1 {
		t.Errorf("a node joined %d times:\n%s", n, events)
	}
	if n := l.said(t, "level=ERROR"); n > 0 {
		t.Errorf("%d errors are logged", n)
	}
	l.stop(t)
	testkit.Eventually(t, "it leaves in the end", func() bool { return strings.Contains(peer.proc.Output(), "member left") })
}

// members counts the other nodes that a lineage knows.
func (l *lineage) members(tb testing.TB, state string) int {
	tb.Helper()
	return int(l.metrics(tb)[fmt.Sprintf("homing_cluster_members{role=%q,state=%q}", "node", state)])
}

// sum adds up a metric over its labels, as far as they contain a text.
func (h *homing) sum(tb testing.TB, name, label string) (sum float64) {
	tb.Helper()
	for full, value := range h.metrics(tb) {
		if base, labels, _ := strings.Cut(full, "{"); base == name && strings.Contains(labels, label) {
			sum += value
		}
	}
	return sum
}

// A new program that does not come up, in whatever way, changes nothing: the answer says why in one line, the old process
// goes on, no client notices, and nothing is left of the new one.
func TestIntegrationUpgradeFails(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	dir, socket := t.TempDir(), filepath.Join(t.TempDir(), "x.sock")
	config := filepath.Join(dir, "homing.yaml")
	good := fmt.Sprintf("log: {level: info}\nstate_dir: %s\ntimeouts: {upgrade: 2s, drain: 5s}\ntables: {entries: 20000, client_entries: 2000}\npools: [{name: default, backends: [", filepath.Join(dir, "state"))
	for _, n := range servers {
		good += fmt.Sprintf("{address: %q}, ", n.Addr())
	}
	good += "]}]\n"
	l := newLineage(t, nil)
	good += fmt.Sprintf("listeners: [{address: %q, default: default}]\nadmin: {address: %q}\n", l.addr, l.admin)
	write := func(text string) {
		testkit.Check(t, os.WriteFile(config, []byte(text), 0o600))
	}
	write(good)
	l.args = []string{"run", "--config", config}
	l.start(t)
	clients := startLoad(t, l.addr, mixed(t, l.addr, cert)...)
	clients.more(t, 100)
	clients.forget()
	first := l.newest
	taken := testkit.Listen(t, "tcp", "127.0.0.1:0")
	for _, tt := range []struct {
		what    string
		program string // "": the good one
		config  string
		want    string
	}{
		{"a script that says why", "#!/bin/sh\necho homing: no such luck >&2; echo more >&2; exit 3\n", good, "no such luck (exit status 3)"},
		{"one that says nothing", "#!/bin/sh\nexit 3\n", good, "exit status 3, and it said nothing"},
		{"a crash", "#!/bin/sh\nkill -SEGV $$\n", good, "signal: segmentation fault"},
		{"one that hangs", "#!/bin/sh\necho waiting >&2; exec sleep 1000\n", good, "was not ready within 2s and was killed; its last line: waiting"},
		{"no program at all", "what is this", good, "could not be started"},
		{"a wrong key", "", good + "nonsense: 1\n", `homing.yaml:8:1: "nonsense" is not known here`},
		{"no YAML", "", "{", "homing.yaml:1:1: the brace is not closed"},
		{"an address that is taken", "", strings.Replace(good, "listeners: [", fmt.Sprintf("listeners: [{address: %q, default: default}, ", taken.Addr()), 1), "address already in use"},
		{"a directory that cannot be", "", strings.Replace(good, "state_dir: ", "state_dir: /dev/null/", 1), "state_dir /dev/null/"},
		{"a missing file", "", strings.Replace(good, "admin: {", "admin: {token_file: "+socket+", ", 1), "no such file"},
	} {
		if tt.program != "" {
			l.installText(t, []byte(tt.program), 0o755)
		}
		write(tt.config)
		said := l.upgrade(t)
		if !strings.Contains(said, tt.want) || strings.Contains(said, "\n") {
			t.Errorf("%s: the answer is %q, want %q", tt.what, said, tt.want)
		}
		if got := l.alive(t); !slices.Equal(got, []int{first}) {
			t.Errorf("%s: processes %v, want %d alone", tt.what, got, first)
		}
		if !l.ready(t) {
			t.Errorf("%s: the old process is not ready", tt.what)
		}
		clients.more(t, 20)
		l.install(t, binary)
	}
	write(good)
	if said := l.upgrade(t); said != "" {
		t.Errorf("a good one: %s", said)
	}
	clients.more(t, 60)
	seen := clients.end(t)
	t.Logf("failed upgrades, and one that did not: %v", &seen)
	if l.newest == first || !testkit.Wait(testkit.Patience, func() bool { return slices.Equal(l.alive(t), []int{l.newest}) }) {
		t.Errorf("processes %v, the first was %d", l.alive(t), first)
	}
}

// Tables of another size cannot be shared: their content goes over before the new process takes conns, and what the old
// one learns later follows.
func TestIntegrationUpgradeResizes(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{QuietLog: true, NoTickets: true}, farm.NewECDSA)
	l := newLineage(t, addrs(servers), "--table-entries", "20000")
	l.start(t)
	clients := startLoad(t, l.addr, users(t, l.addr, 20, idUser(cert)), users(t, l.addr, 20, idUser(cert)))
	clients.more(t, 60)
	clients.forget()
	open := keep(t, l.addr, cert)
	// The arguments cannot change, but the program may: a script in its place gives others.
	real := l.path + ".real"
	content, err := os.ReadFile(binary)
	testkit.Check(t, err)
	testkit.Check(t, os.WriteFile(real, content, 0o755))
	l.installText(t, fmt.Appendf(nil, "#!/bin/sh\nexec %s \"$@\" --table-entries 50000\n", real), 0o755)
	if said := l.upgrade(t); said != "" {
		t.Fatal(said)
	}
	if got := l.metrics(t)[`homing_table_capacity_entries{table="sessions"}`]; got != 50000 {
		t.Errorf("the new table holds %v entries", got)
	}
	clients.more(t, 100)
	open.ask(t)
	seen := clients.end(t)
	t.Logf("another size: %v", &seen)
}

// What drains for longer than the drain timeout is cut, and the process that drained ends; the other one goes on.
func TestIntegrationUpgradeDrainDeadline(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	l := newLineage(t, addrs(servers), "--drain-timeout", "1s")
	l.start(t)
	open := keep(t, l.addr, cert)
	began := time.Now()
	l.upgradeBySignal(t)
	fresh := keep(t, l.addr, cert)
	if !testkit.Wait(testkit.Patience, func() bool { return slices.Equal(l.alive(t), []int{l.newest}) }) {
		t.Errorf("processes %v, want %d alone", l.alive(t), l.newest)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("the old process was gone after %v, with a conn open", took)
	}
	if err := open.try(); err == nil {
		t.Error("a conn outlived its process")
	}
	fresh.ask(t)
	if l.said(t, "conns that were still open are cut: a longer --drain-timeout waits for them\" timeout_seconds=1 cut=1") != 1 {
		t.Error("the old process does not say that it cut a conn")
	}
}

// systemd is told of all that happens, by whom it is to be told.
func TestIntegrationSystemdNotify(t *testing.T) {
	servers, _ := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	testkit.Check(t, err)
	defer conn.Close()
	raw, err := conn.SyscallConn()
	testkit.Check(t, err)
	testkit.Check(t, raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_PASSCRED, 1) }))
	const pat = "WATCHDOG=1"
	type told struct {
		message string
		pid     int
	}
	messages := make(chan told, 1<<16) // none waits in the socket's queue, which holds ten
	go func() {
		defer close(messages)
		buf, oob := make([]byte, 4096), make([]byte, 256)
		for {
			n, m, _, _, err := conn.ReadMsgUnix(buf, oob)
			if err != nil {
				return // the test has ended
			}
			one := told{message: string(buf[:n])}
			if list, err := syscall.ParseSocketControlMessage(oob[:m]); err == nil && len(list) > 0 {
				if who, err := syscall.ParseUnixCredentials(&list[0]); err == nil {
					one.pid = int(who.Pid)
				}
			}
			messages <- one
		}
	}()
	read := func() (message string, pid int) {
		t.Helper()
		select {
		case one := <-messages:
			return one.message, one.pid
		case <-time.After(20 * time.Second):
			t.Fatal("nothing is told")
		}
		return "", 0
	}
	// expect is the next message but pats of the watchdog.
	expect := func(pid int, prefix string) string {
		t.Helper()
		message, from := read()
		for message == pat {
			message, from = read()
		}
		if !strings.HasPrefix(message, prefix) || from != pid {
			t.Errorf("process %d says %q, want %q of %d", from, message, prefix, pid)
		}
		return message
	}
	l := newLineage(t, addrs(servers))
	l.env = []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=100000"}
	l.start(t)
	expect(l.newest, "READY=1\nSTATUS=serving")
	for range 2 {
		elder := l.newest
		l.upgradeBySignal(t)
		if m := expect(elder, "RELOADING=1\nMONOTONIC_USEC="); strings.Contains(m, "MONOTONIC_USEC=0") {
			t.Errorf("%q", m)
		}
		expect(elder, fmt.Sprintf("MAINPID=%d\nREADY=1\nSTATUS=serving; process %d drains", l.newest, elder))
		expect(l.newest, "STATUS=serving") // the elder has ended
	}
	for range 3 { // the watchdog is fed by the newest alone
		if message, from := read(); message != pat || from != l.newest {
			t.Errorf("process %d says %q", from, message)
		}
	}
	l.installText(t, []byte("#!/bin/sh\necho homing: broken >&2; exit 1\n"), 0o755)
	if said := l.upgrade(t); !strings.Contains(said, "broken") {
		t.Errorf("a broken program: %q", said)
	}
	expect(l.newest, "RELOADING=1\nMONOTONIC_USEC=")
	if m := expect(l.newest, "READY=1\nSTATUS=serving; the last upgrade failed: "); !strings.Contains(m, "broken") {
		t.Errorf("%q", m)
	}
	testkit.Check(t, syscall.Kill(l.newest, syscall.SIGTERM))
	expect(l.newest, "STOPPING=1\nSTATUS=draining")
}

// systemd binds the sockets and starts the process when the first conn comes; an upgrade keeps them.
func TestIntegrationSocketActivation(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	tool, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		t.Skip("systemd-socket-activate is not installed: apt-get install systemd")
	}
	l := newLineage(t, addrs(servers), "--loops", "2")
	unused := testkit.FreeAddr(t)
	l.start(t, tool, "--listen="+l.addr, "--listen="+l.admin, "--listen="+unused, "--fdname=web:admin:spare")
	spare := "spare of systemd (" + unused + ")"
	testkit.Eventually(t, "the socket that nobody uses is named", func() bool { return l.said(t, spare) > 0 })
	if n := l.said(t, spare); n != 1 {
		t.Errorf("the socket that nobody uses is named %d times", n)
	}
	clients := startLoad(t, l.addr, mixed(t, l.addr, cert)...)
	clients.more(t, 60)
	clients.forget()
	for range 2 {
		if said := l.upgrade(t); said != "" {
			t.Fatal(said)
		}
		clients.more(t, 40)
	}
	seen := clients.end(t)
	t.Logf("sockets of systemd: %v", &seen)
}

// A unix socket for operators passes over too, and a process that fails does not take its path away. The command says what
// the answer says, and a directory belongs to one lineage at a time.
func TestIntegrationUpgradeCommand(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	dir := t.TempDir()
	socket := "unix:" + filepath.Join(dir, "admin.sock")
	state, tables := filepath.Join(dir, "state"), shm(t)
	l := newLineage(t, addrs(servers), "--state-dir", state, "--table-dir", tables, "--table-entries", "20000", "--client-entries", "2000")
	l.args[4] = socket
	if l.args[3] != "--admin" {
		t.Fatalf("the arguments are %q", l.args)
	}
	command := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		out, err := exec.CommandContext(ctx, binary, append(args, "--admin", socket)...).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	l.isReady = func() bool {
		_, err := command("status")
		return err == nil
	}
	l.start(t)
	list := users(t, l.addr, 6, idUser(cert))
	for i, tt := range []struct{ program, want string }{
		{"#!/bin/sh\necho homing: not today >&2; exit 1\n", "not today"},
		{"", ""},
		{"#!/bin/sh\nexec " + binary + ` "$@" --backend 127.0.0.1:1 --nonsense` + "\n", "nonsense"},
		{"", ""},
	} {
		if tt.program != "" {
			l.installText(t, []byte(tt.program), 0o755)
		} else {
			l.install(t, binary)
		}
		before := l.alive(t)
		said, err := command("upgrade")
		if (err != nil) != (tt.want != "") || !strings.Contains(said, tt.want) {
			t.Errorf("step %d: %q, %v", i, said, err)
		}
		if tt.want == "" {
			l.follow(t, before)
			if !testkit.Wait(testkit.Patience, func() bool { return slices.Equal(l.alive(t), []int{l.newest}) }) {
				t.Errorf("step %d: processes %v", i, l.alive(t))
			}
		}
		if out, err := command("status"); err != nil {
			t.Errorf("step %d: nobody answers at the socket: %s", i, out)
		}
		if c := reconnect(t, l.addr, list, 12); c.refused() > 0 {
			t.Errorf("step %d: %v", i, &c)
		}
	}
	for _, flag := range []string{"--state-dir=" + state, "--table-dir=" + tables} {
		out, err := exec.CommandContext(t.Context(), binary, "run", "--listen", testkit.FreeAddr(t), "--backend",
			"127.0.0.1:1", flag).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "another homing uses it") {
			t.Errorf("a second homing with %s: %v, %s", flag, err, out)
		}
	}
	// The last process ends, and the next one finds what all of them knew.
	l.stop(t)
	if _, err := os.Stat(filepath.Join(dir, "admin.sock")); err == nil {
		t.Error("the last process leaves its socket behind")
	}
	l.start(t)
	if c := reconnect(t, l.addr, list, 12); c.refused() > 0 {
		t.Errorf("after a restart: %v", &c)
	}
}

// shm is a directory on a tmpfs.
func shm(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "homing-test-")
	if err != nil {
		t.Skip("no tmpfs: ", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Nothing of the old process's conns is open in the new one: else they would not end when the old one ends them.
func TestIntegrationUpgradeKeepsConnsApart(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	for _, engine := range []string{"epoll", "auto"} {
		l := newLineage(t, addrs(servers), "--engine", engine, "--drain-timeout", "1s", "--loops", "2")
		l.start(t)
		var open []*kept
		for range 20 {
			open = append(open, keep(t, l.addr, cert))
		}
		count := func(pid int) (sockets int) {
			dir := fmt.Sprintf("/proc/%d/fd", pid)
			entries, err := os.ReadDir(dir)
			testkit.Check(t, err)
			for _, e := range entries {
				if to, _ := os.Readlink(filepath.Join(dir, e.Name())); strings.HasPrefix(to, "socket:") {
					sockets++
				}
			}
			return sockets
		}
		elder := l.newest
		l.upgradeBySignal(t)
		if n, m := count(elder), count(l.newest); n < 40 || m > 12 {
			t.Errorf("%s: the old process has %d sockets, the new one %d", engine, n, m)
		}
		// Cut by the deadline: the client hears of it at once.
		if !testkit.Wait(testkit.Patience, func() bool { return slices.Equal(l.alive(t), []int{l.newest}) }) {
			t.Errorf("%s: processes %v", engine, l.alive(t))
		}
		for _, k := range open {
			testkit.Check(t, k.conn.SetReadDeadline(time.Now().Add(5*time.Second)))
			if _, err := k.answer.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: a conn of a process that is gone: %v", engine, err)
			}
		}
		l.stop(t)
	}
}

// What operators have done to backends, and which are down, holds in the new process from its first conn on.
func TestIntegrationUpgradeKeepsBackends(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	l := newLineage(t, addrs(servers), "--check-interval", "1h", "--fall", "1") // no check tells the new process
	l.start(t)
	out, err := exec.CommandContext(t.Context(), binary, "drain", servers[0].Addr(), "--hard", "--admin", l.admin).CombinedOutput()
	if err != nil {
		t.Fatalf("drain: %v: %s", err, out)
	}
	servers[1].Kill()
	users(t, l.addr, 6, goUser(cert, tls.VersionTLS13)) // one of them finds out, and has it checked
	testkit.Eventually(t, "a backend that is gone is down", func() bool { return !l.up(t, servers[1].Addr()) })
	for range 2 {
		if said := l.upgrade(t); said != "" {
			t.Fatal(said)
		}
		if l.up(t, servers[1].Addr()) {
			t.Error("the new process takes a backend for up that was down")
		}
		met := map[string]int{}
		for range 9 {
			r, err := goUser(cert, tls.VersionTLS13)().Get(t.Context(), l.addr)
			testkit.Check(t, err)
			met[r.Backend]++
		}
		if met["c"] != 9 {
			t.Errorf("fresh conns went to %v: a is drained, b is down", met)
		}
	}
}

// What a process learns while it drains is known to its heir, and to the other nodes, as if it had been learned there.
func TestIntegrationUpgradeForwards(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	w := newTown(t, "--probe", "off")
	for _, addr := range addrs(servers) {
		w.flags = append(w.flags, "--backend", addr)
	}
	w.build(t, 1)
	peer := w.nodes[0]
	l := newLineage(t, addrs(servers), append(w.clusterFlags(t, testkit.FreeAddr(t)), "--probe", "off")...)
	l.start(t)
	testkit.Eventually(t, "the nodes share", func() bool { return peer.sum(t, "homing_replication_streams_total", "") > 0 })
	var raw []net.Conn
	for range 9 {
		conn, err := net.Dial("tcp", l.addr)
		testkit.Check(t, err)
		defer conn.Close()
		raw = append(raw, conn)
	}
	testkit.Eventually(t, "the old process has them", func() bool { return l.metrics(t)["homing_conns_open"] == 9 })
	streams := peer.sum(t, "homing_replication_streams_total", "")
	l.upgradeBySignal(t)
	testkit.Eventually(t, "the new process shares", func() bool { return peer.sum(t, "homing_replication_streams_total", "") > streams })

	var configs []*tls.Config
	for _, conn := range raw {
		cfg := &tls.Config{ServerName: farm.ServerName, RootCAs: farm.Roots(cert), MaxVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		k := &kept{conn: tls.Client(conn, cfg)}
		k.answer = bufio.NewReader(k.conn)
		k.ask(t)
		configs = append(configs, cfg)
	}
	learned := `homing_replication_facts_total{from="here"}`
	testkit.Eventually(t, "the new process hears of it", func() bool { return l.metrics(t)[learned] >= 3 })
	testkit.Eventually(t, "all is shared", func() bool { return l.sum(t, "homing_replication_unacked_facts", "") == 0 })
	for i, cfg := range configs {
		for _, addr := range []string{peer.addr, l.addr} {
			conn, err := tls.Dial("tcp", addr, cfg)
			testkit.Check(t, err)
			if !conn.ConnectionState().DidResume {
				t.Errorf("session %d is not known at %s", i, addr)
			}
			conn.Close()
		}
	}
}

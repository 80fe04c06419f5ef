package observe

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"homing/bench/testkit"
	"homing/cmd/homing/internal/observe/judge"
)

// findings runs the command and reads its JSON.
func findings(t *testing.T, stdin []byte, args ...string) *judge.Findings {
	t.Helper()
	code, out, errs := command(stdin, append(args, "--json", "-")...)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	var f judge.Findings
	testkit.Check(t, json.Unmarshal([]byte(out), &f))
	return &f
}

// What crypto/tls did is what is found, of tickets of TLS 1.2 and of PSKs, from a file, compressed, from stdin, and from
// several files in order.
func TestFiles(t *testing.T) {
	for version, want := range map[uint16]string{tls.VersionTLS12: "ticket", tls.VersionTLS13: "psk"} {
		t.Run(want, func(t *testing.T) {
			r := newRecording(t)
			offers, resumed := site(t, r, version, 8, []int{0, 0, 1, 2, 2, 0, 1, 1})
			file := filepath.Join(t.TempDir(), "trace.pcap")
			testkit.Check(t, os.WriteFile(file, r.Bytes(), 0o600))
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			_, err := z.Write(r.Bytes())
			testkit.Check(t, err)
			testkit.Check(t, z.Close())
			testkit.Check(t, os.WriteFile(file+".gz", packed.Bytes(), 0o600))
			for name, f := range map[string]*judge.Findings{
				"file": findings(t, nil, "--pcap", file), "compressed": findings(t, nil, "--pcap", file+".gz"),
				"stdin": findings(t, r.Bytes(), "--pcap", "-"),
			} {
				o := &f.Total
				if o.Offers != uint64(offers) || o.Accepted != uint64(resumed) || o.Fresh != 8 || f.View.Kind != judge.ViewBetween || !o.Seen {
					t.Errorf("%s: %s, %+v, want %d offers and %d accepted", name, f.View, o, offers, resumed)
				}
				if len(f.Servers) != 3 || f.ByName[0].Name != "site.example" || f.Kinds[0].Kind != want {
					t.Errorf("%s: %+v", name, f)
				}
				if away := o.Why["elsewhere"] + o.Why["likely_elsewhere"]; away != o.Lost || o.Saved.Accepted < 0.99 {
					t.Errorf("%s: %d of %d lost are elsewhere's, %+v", name, away, o.Lost, o.Saved)
				}
			}
			later := newRecording(t)
			later.now = r.now.Add(time.Hour)
			site(t, later, version, 1, []int{0, 0})
			next := filepath.Join(t.TempDir(), "later.pcap")
			testkit.Check(t, os.WriteFile(next, later.Bytes(), 0o600))
			if f := findings(t, nil, "--pcap", file, "--pcap", next); f.Total.Handshakes != 64+2 || f.SetBack != 0 {
				t.Errorf("two files: %d handshakes, set back %d times", f.Total.Handshakes, f.SetBack)
			}
			if f := findings(t, nil, "--pcap", next, "--pcap", file); f.Total.Handshakes != 64+2 || f.SetBack != 0 {
				t.Errorf("the later one first: %d handshakes, set back %d times", f.Total.Handshakes, f.SetBack)
			}
		})
	}
}

// A file that is cut off is told of as far as it goes, with one line on stderr and exit code 1; so is one that is none, and
// the next one is read all the same.
func TestBrokenFiles(t *testing.T) {
	r := newRecording(t)
	site(t, r, tls.VersionTLS12, 4, []int{0, 1, 1})
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		file := filepath.Join(dir, name)
		testkit.Check(t, os.WriteFile(file, b, 0o600))
		return file
	}
	good := write("good.pcap", r.Bytes())
	for _, tc := range []struct {
		name  string
		files []string
		least int // handshakes
	}{
		{"cut", []string{write("cut.pcap", r.Bytes()[:r.Len()*2/3])}, 6},
		{"garbage", []string{write("garbage", []byte("this is no capture at all, and was never meant to be one"))}, 0},
		{"garbage first", []string{write("empty", nil), good}, 12},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var args []string
			for _, f := range tc.files {
				args = append(args, "--pcap", f)
			}
			code, out, errs := command(nil, append(args, "--json", "-")...)
			if code != 1 || strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "homing: ") {
				t.Errorf("exit code %d, stderr %q", code, errs)
			}
			var f judge.Findings
			testkit.Check(t, json.Unmarshal([]byte(out), &f))
			if f.Total.Handshakes < uint64(tc.least) || f.Capture.Ended == "" {
				t.Errorf("%+v", f)
			}
		})
	}
	if code, _, errs := command(nil, "--pcap", filepath.Join(dir, "missing")); code != 2 || !strings.Contains(errs, "missing") {
		t.Errorf("a missing file: exit code %d, %q", code, errs)
	}
}

// What is written to files tells no names, unless asked; the person who runs it sees them.
func TestOutputs(t *testing.T) {
	r := newRecording(t)
	site(t, r, tls.VersionTLS12, 4, []int{0, 1, 1, 2})
	dir := t.TempDir()
	run := func(args ...string) (stdout, jsonText, html string) {
		code, out, errs := command(r.Bytes(), append(args, "--pcap", "-", "--json", filepath.Join(dir, "out.json"), "--html", filepath.Join(dir, "out.html"), "--certificate", "1ms")...)
		if code != 0 || errs != "" {
			t.Fatalf("exit code %d: %s", code, errs)
		}
		j, err := os.ReadFile(filepath.Join(dir, "out.json"))
		testkit.Check(t, err)
		h, err := os.ReadFile(filepath.Join(dir, "out.html"))
		testkit.Check(t, err)
		return out, string(j), string(h)
	}
	named := func(s string) bool { return strings.Contains(s, "10.0.0.1") || strings.Contains(s, "site.example") }
	out, j, h := run()
	if !named(out) || named(j) || named(h) {
		t.Errorf("auto: names on stdout %v, in JSON %v, on the page %v", named(out), named(j), named(h))
	}
	if !strings.Contains(out, "as given (1 ms each)") {
		t.Errorf("no price: %s", out)
	}
	out, j, h = run("--anonymize", "on")
	if named(out) || named(j) || named(h) {
		t.Errorf("on: names on stdout %v, in JSON %v, on the page %v", named(out), named(j), named(h))
	}
	_, j, h = run("--anonymize=off")
	if !named(j) || !strings.Contains(h, "10.0.0.1") {
		t.Errorf("off: names in JSON %v, on the page %v", named(j), named(h))
	}
	_, one, _ := run("--anonymize-key", "one")
	_, again, _ := run("--anonymize-key", "one")
	_, two, _ := run("--anonymize-key", "two")
	if one != again || one == two {
		t.Error("hashes do not belong to the key")
	}
}

// The flags say what cannot be guessed: of two servers that share nothing in the capture, too.
func TestRoles(t *testing.T) {
	r := newRecording(t)
	site(t, r, tls.VersionTLS12, 1, []int{0, 0})
	site(t, r, tls.VersionTLS12, 1, []int{1, 1})
	if f := findings(t, r.Bytes(), "--pcap", "-"); f.View.Kind != judge.ViewApart {
		t.Errorf("%+v", f.View)
	}
	if f := findings(t, r.Bytes(), "--pcap", "-", "--backend", "10.0.0.1", "--backend", "10.0.0.2:443"); f.View.Kind != judge.ViewBetween {
		t.Errorf("%+v", f.View)
	}
	f := findings(t, r.Bytes(), "--pcap", "-", "--backend", "10.0.0.1", "--vip", "10.0.0.2")
	if f.View.Kind != judge.ViewBoth || f.Total.Handshakes != 2 {
		t.Errorf("%+v: %+v", f.View, f.Total)
	}
}

// Lists are lists for programs, where there is nothing in them too.
func TestNoNull(t *testing.T) {
	for name, r := range map[string]*recording{"nothing": newRecording(t), "something": newRecording(t)} {
		if name == "something" {
			site(t, r, tls.VersionTLS12, 1, []int{0, 1})
		}
		for _, anonymize := range []string{"on", "off"} {
			code, out, errs := command(r.Bytes(), "--pcap", "-", "--json", "-", "--anonymize", anonymize)
			if code != 0 || strings.Contains(out, "null") {
				t.Errorf("%s: exit code %d, %s, %s", name, code, errs, out)
			}
		}
	}
}

func TestUsage(t *testing.T) {
	live := []string{"--interface", "lo"}
	file := []string{"--pcap", "-"}
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "homing: nothing to observe: give --pcap FILE or --interface NAME"},
		{append(live, file...), "homing: --pcap and --interface exclude each other: give one of them"},
		{append(file, "--admin", "127.0.0.1:0"), "homing: --admin is for --interface: a file is soon over"},
		{append(file, "--for", "1s"), "homing: --for is for --interface: a file is read to its end"},
		{append(file, "--watch", "--json", "-"), "homing: --watch and --json - would both write to stdout: give --json a file"},
		{append(file, "--backend", "192.0.2.1", "--vip", "192.0.2.1:443"), "homing: --backend 192.0.2.1 and --vip 192.0.2.1:443 are the same: an address is one of the two"},
		{append(file, "--backend", "web1"), `homing: --backend "web1": not an address: write it such as 192.0.2.11 or 192.0.2.11:443`},
		{append(file, "--port", "0"), `homing: --port "0": the port "0" is not a number from 1 to 65535`},
		{append(file, "--certificate", "dsa"), `homing: --certificate "dsa": not known: give rsa2048, rsa3072, rsa4096, p256, p384 or ed25519, or a time such as 900us`},
		{append(file, "--json", filepath.Join("no", "such", "dir", "f")), "homing: --json: open " + filepath.Join("no", "such", "dir", "f") + ":"},
		{append(file, "extra"), `homing: unknown command "extra": see homing observe -h`},
	} {
		t.Run(fmt.Sprint(tc.args), func(t *testing.T) {
			code, _, errs := command(nil, tc.args...)
			if code != 2 || !strings.HasPrefix(errs, tc.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("exit code %d, %q, want %q", code, errs, tc.want)
			}
		})
	}
	if runtime.GOOS != "linux" {
		if code, _, errs := command(nil, live...); code != 2 || !strings.Contains(errs, "--interface is for Linux") {
			t.Errorf("exit code %d, %q", code, errs)
		}
	}
}

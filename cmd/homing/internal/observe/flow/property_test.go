package flow

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// talks are the conns that the properties hold for: those that this test had real ends speak, and those that crypto/tls keeps
// for its own tests, recorded between itself and OpenSSL.
func talks(tb testing.TB) map[string][]said {
	tb.Helper()
	all := maps.Clone(recorded(tb))
	root, err := exec.CommandContext(tb.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		tb.Logf("no go command to ask for GOROOT: %v", err)
		return all
	}
	files, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(root)), "src", "crypto", "tls", "testdata", "[CS]*-TLSv1*"))
	for _, name := range files {
		if talk := readTalk(tb, name); len(talk) > 0 {
			all[filepath.Base(name)] = talk
		}
	}
	return all
}

// readTalk takes a hex dump by flows: ">>> Flow 1 (client to server)", then lines of an offset, 16 bytes, and the same as
// text.
func readTalk(tb testing.TB, name string) (talk []said) {
	tb.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, ">>> ") {
			from := server
			if strings.Contains(line, "client to server") {
				from = client
			}
			talk = append(talk, said{from: from})
			continue
		}
		_, line, _ = strings.Cut(line, " ")
		line, _, _ = strings.Cut(line, "|")
		b, err := hex.DecodeString(strings.Join(strings.Fields(line), ""))
		if err != nil {
			tb.Fatalf("%s: %v", name, err)
		}
		last := &talk[len(talk)-1]
		last.data = append(last.data, b...)
	}
	return talk
}

// network is what happens to segments on their way to the capture, in shares of 1.
type network struct {
	split, again, swap, lose float64
}

// carry takes segments through: each may be split, sent again with other bounds, duplicated, be late, and be lost. Without
// loss the first three stay the first, as a mirror that swaps those swaps what is a round trip apart.
func (n network) carry(rng *rand.Rand, all []seen) []seen {
	var out []seen
	for i, s := range all {
		for rng.Float64() < n.split && len(s.data) > 1 {
			at := 1 + rng.IntN(len(s.data)-1)
			head := s
			head.data, head.fin = s.data[:at], false
			out = append(out, head)
			s.seq, s.data = s.seq+uint32(at), s.data[at:]
		}
		out = append(out, s)
		if rng.Float64() < n.again {
			out = append(out, repeat(rng, all[:i+1], s.from))
		}
	}
	for i := range out {
		if i > 3 && rng.Float64() < n.swap {
			j := 3 + rng.IntN(i-2)
			j = max(j, i-8)
			out[i], out[j] = out[j], out[i]
		}
	}
	kept := out[:0]
	for _, s := range out {
		if rng.Float64() >= n.lose {
			kept = append(kept, s)
		}
	}
	return kept
}

// repeat sends a part of what a side has sent so far again.
func repeat(rng *rand.Rand, all []seen, from side) seen {
	var of seen
	for _, s := range all {
		switch {
		case s.from != from:
		case len(of.data) == 0:
			of = s
			of.data = bytes.Clone(s.data)
		case of.seq+uint32(len(of.data)) == s.seq:
			of.data = append(of.data, s.data...)
			of.ack, of.fin = s.ack, s.fin
		}
	}
	if n := len(of.data); n > 1 {
		skip := rng.IntN(n)
		of.seq, of.data = of.seq+uint32(skip), of.data[skip:]
		if keep := 1 + rng.IntN(len(of.data)); keep < len(of.data) {
			of.data, of.fin = of.data[:keep], false
		}
		of.syn = false
	}
	return of
}

// events are what was told, without what the end of the conn says.
func events(r *recorder) (told []string, replied bool) {
	for _, line := range r.lines {
		switch {
		case line == "replied":
			replied = true
		case !strings.HasPrefix(line, "close: "):
			told = append(told, line)
		}
	}
	return told, replied
}

// TestAnyWay: as long as nothing is missing, whatever the network does the same is told. But for the completion behind the
// dark: it is read from headers as they come, and may stay unsaid.
func TestAnyWay(t *testing.T) {
	for name, talk := range talks(t) {
		r, _ := observe(t, Config{}, segments(talk, 1460))
		want, wantReplied := events(r)
		for seed := range uint64(30) {
			rng := rand.New(rand.NewPCG(seed, 1))
			way := network{split: 0.5 * rng.Float64(), again: 0.5 * rng.Float64(), swap: 0.7 * rng.Float64()}
			r, _ := observe(t, Config{}, way.carry(rng, segments(talk, 1+rng.IntN(3000))))
			got, replied := events(r)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s, seed %d (-in order +got):\n%s", name, seed, diff)
			}
			if replied && !wantReplied {
				t.Fatalf("%s, seed %d: completed, which it is not in order", name, seed)
			}
		}
	}
}

// TestCompletion: whatever the segments' size, in order and each once or twice, the completion is told.
func TestCompletion(t *testing.T) {
	for name, talk := range talks(t) {
		r, _ := observe(t, Config{}, segments(talk, 1460))
		for _, mss := range []int{90, 536, 1448, 9000, 65000} {
			all := segments(talk, mss)
			var twice []seen
			for _, s := range all {
				twice = append(twice, s, s)
			}
			for how, all := range map[string][]seen{"once": all, "twice": twice} {
				got, _ := observe(t, Config{}, all)
				if diff := cmp.Diff(r.lines, got.lines); diff != "" {
					t.Errorf("%s, segments of %d bytes, %s (-1460 +got):\n%s", name, mss, how, diff)
				}
			}
		}
	}
}

// TestLoss: when packets are missing, what is told is the begin of what would have been told, and it is said that something
// is missing: a conn that is settled has told all.
func TestLoss(t *testing.T) {
	settled, whole := 0, 0
	for name, talk := range talks(t) {
		r, _ := observe(t, Config{}, segments(talk, 1460))
		want, wantReplied := events(r)
		for seed := range uint64(30) {
			rng := rand.New(rand.NewPCG(seed, 2))
			way := network{split: 0.3, again: 0.1 * rng.Float64(), swap: 0.3 * rng.Float64(), lose: 0.05}
			r, a := observe(t, Config{}, way.carry(rng, segments(talk, 1+rng.IntN(3000))))
			got, replied := events(r)
			whole++
			if diff := cmp.Diff(want[:min(len(want), len(got))], got); diff != "" && a.stats.Conns == 1 {
				t.Fatalf("%s, seed %d (-without loss +got):\n%s", name, seed, diff)
			}
			if replied && !wantReplied {
				t.Fatalf("%s, seed %d: completed, which it is not without loss", name, seed)
			}
			for _, c := range r.conns {
				if c.Settled {
					settled++
					if len(got) != len(want) {
						t.Fatalf("%s, seed %d: settled with %q of %q", name, seed, got, want)
					}
				}
			}
		}
	}
	t.Logf("%d of %d conns are judged at a loss of 5 %%", settled, whole)
}

// TestSides: the two sides may be captured apart, the one ahead of the other by all that it says.
func TestSides(t *testing.T) {
	for name, talk := range talks(t) {
		all := segments(talk, 1460)
		r, _ := observe(t, Config{}, all)
		want, wantReplied := events(r)
		for _, ahead := range []side{client, server} {
			sorted := slices.Clone(all)
			slices.SortStableFunc(sorted, func(a, b seen) int { return int(a.from^ahead) - int(b.from^ahead) })
			r, _ := observe(t, Config{Ports: []uint16{443}}, sorted)
			got, replied := events(r)
			if diff := cmp.Diff(want, got); diff != "" || replied && !wantReplied {
				t.Errorf("%s, side %d ahead, completed %t, in order %t (-in order +got):\n%s", name, ahead, replied, wantReplied, diff)
			}
		}
	}
}

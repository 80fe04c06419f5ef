package integration

import (
	"bytes"
	"crypto/tls"
	wire "encoding/binary"
	"encoding/json"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/pcapgo"

	"homing/bench/farm"
	"homing/bench/proc"
	"homing/bench/testkit"
	"homing/bench/tlsclient"
	findings "homing/cmd/homing/internal/observe/judge"
)

// needSpeed skips what says how fast this machine is: make speed runs it.
func needSpeed(t *testing.T) {
	t.Helper()
	if os.Getenv("HOMING_SPEED") != "1" {
		t.Skip("measures this machine: make speed runs it")
	}
}

// largeCapture writes the capture again and again, each time as another hour of another balancer, until it has size bytes.
func largeCapture(t *testing.T, list []frame, size int64) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "large.pcap")
	f, err := os.Create(file)
	testkit.Check(t, err)
	w := pcapgo.NewWriterNanos(f)
	testkit.Check(t, w.WriteFileHeader(256<<10, list[0].link))
	from := netip.MustParseAddr(siteNetwork + siteBalancer).AsSlice()
	took := list[len(list)-1].at.Sub(list[0].at) + time.Second
	const addresses = 14 + 12 // of IPv4 behind Ethernet
	var written int64
	for i := 0; written < size; i++ {
		to := wire.BigEndian.AppendUint32(nil, 10<<24|uint32(i+1)) // 10.0.0.1 and on
		for _, p := range list {
			for _, at := range []int{addresses, addresses + 4} {
				if a := p.data[at : at+4]; bytes.Equal(a, from) || a[0] == 10 {
					copy(a, to)
				}
			}
			testkit.Check(t, w.WritePacket(gopacket.CaptureInfo{
				Timestamp: p.at.Add(time.Duration(i) * took), CaptureLength: len(p.data), Length: p.size,
			}, p.data))
			written += int64(len(p.data) + 16)
		}
	}
	testkit.Check(t, f.Close())
	return file
}

// A capture of 1 GB is read at 100 MB/s and more on one processor, in bounded memory: where conns carry 64 kB each, and where
// they are handshakes and nothing else.
func TestIntegrationObserveSpeed(t *testing.T) {
	needSpeed(t)
	s := newObservedSite(t, farm.NginxConfig{Load: true})
	s.balancer.IP(t, "link", "set", "eth0", "gso_max_segs", "1") // packets as a mirror has them
	for _, n := range []string{"11", "12", "13"} {
		testkit.Room(siteBridge+"-"+n).IP(t, "link", "set", "eth0", "gso_max_segs", "1")
	}
	s.roundRobin(t)
	record := func(work func(p *itinerary)) []frame {
		m := s.record(t, "back.pcap", mirrorBack)
		work(newItinerary(t, s, 4))
		return frames(t, m.end(t))
	}
	handshakes := record(func(p *itinerary) { p.run(t, 600) })
	pages := append(record(func(p *itinerary) { p.fetch(t, 300) }), handshakes[:len(handshakes)/10]...)
	for i, list := range [][]frame{pages, handshakes} {
		file := largeCapture(t, list, 1<<30)
		cmd := exec.CommandContext(t.Context(), binary, "observe", "--pcap", file, "--json", filepath.Join(t.TempDir(), "findings.json"))
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
		begin := time.Now()
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		wall, use := time.Since(begin), cmd.ProcessState.SysUsage().(*syscall.Rusage)
		info, err := os.Stat(file)
		testkit.Check(t, err)
		cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		rate := float64(info.Size()) / 1e6 / wall.Seconds()
		t.Logf("%s: %d MB in packets of %d bytes in %v, %.0f MB/s; CPU %v, %.0f MB/s of it; RSS %d MB", []string{"pages of 64 kB", "handshakes alone"}[i],
			info.Size()/1e6, meanSize(list), wall.Round(time.Millisecond), rate, cpu, float64(info.Size())/1e6/cpu.Seconds(), use.Maxrss>>10)
		if rate < 100 || use.Maxrss>>10 > 512 {
			t.Errorf("below 100 MB/s, or above 512 MB of memory")
		}
		testkit.Check(t, os.Remove(file))
	}
}

// meanSize is the mean length of packets.
func meanSize(list []frame) int {
	var all int
	for _, p := range list {
		all += len(p.data)
	}
	return all / len(list)
}

// fetch lets curl get 64 kB, n times.
func (p *itinerary) fetch(t *testing.T, n int) {
	t.Helper()
	p.site.within(t, func() {
		for range n {
			out, err := exec.CommandContext(t.Context(), "curl", "-sk", "-o", "/dev/null", "-r", "0-65535", "--interface", p.source().IP.String(),
				"--resolve", farm.ServerName+":443:"+siteNetwork+siteBalancer, "https://"+farm.ServerName+"/data").CombinedOutput()
			if err != nil {
				t.Fatalf("curl: %v: %s", err, out)
			}
		}
	})
}

// Live, beside 10,000 new conns a second and as fast as this machine makes them, the kernel drops no packet, and each handshake
// is counted.
func TestIntegrationObserveLive(t *testing.T) {
	needSpeed(t)
	needServers(t)
	testkit.Need(t, "gcc")
	room := testkit.NewRoom(t, "obs-live", nil)
	dir := t.TempDir()
	for _, program := range []string{"backend", "load"} {
		testkit.Run(t, "gcc", "-O2", "-o", filepath.Join(dir, program), "../../../bench/perf/"+program+".c")
	}
	hello, err := tlsclient.New(clientConfig(newECDSA(t), tls.VersionTLS13)).Hello()
	testkit.Check(t, err)
	testkit.Check(t, os.WriteFile(filepath.Join(dir, "hello"), hello, 0o600))
	room.Start(t, "", filepath.Join(dir, "backend"), "9001", "1400", "full13")
	file := filepath.Join(dir, "findings.json")
	watcher := room.Start(t, "", binary, "observe", "--interface", "lo", "--port", "9001", "--json", file)
	time.Sleep(time.Second) // it listens
	out, err := room.Command(t.Context(), filepath.Join(dir, "load"), "9001", "256", "10", "1400", "3", filepath.Join(dir, "hello"), "ids").CombinedOutput()
	testkit.Check(t, err)
	time.Sleep(time.Second)
	cpu, err := proc.CPU(watcher.Tree())
	testkit.Check(t, err)
	watcher.Stop()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: %s", err, watcher.Output())
	}
	var f findings.Findings
	testkit.Check(t, json.Unmarshal(text, &f))
	t.Logf("load: %s; observed %d handshakes, %d packets, %d dropped; CPU %v", out, f.Total.Handshakes, f.Capture.Packets, f.Capture.Dropped, cpu)
	var done, rate uint64
	for word := range strings.FieldsSeq(string(out)) {
		if n, ok := strings.CutPrefix(word, "n="); ok {
			done, err = strconv.ParseUint(n, 10, 64)
			testkit.Check(t, err)
		}
	}
	if rate = done / 10; rate < 10_000 {
		t.Logf("this machine made %d conns/s", rate)
	}
	if f.Capture.Dropped != 0 || f.Total.Handshakes < done || f.Total.Handshakes > done+256 {
		t.Errorf("%d dropped; %d of %d handshakes", f.Capture.Dropped, f.Total.Handshakes, done)
	}
}

package observe

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"homing/cmd/homing/internal/observe/capture"
	"homing/cmd/homing/internal/observe/flow"
	"homing/cmd/homing/internal/observe/judge"
	"homing/cmd/homing/internal/observe/report"
	"homing/cmd/homing/internal/value"
	"homing/cmd/internal/usage"
)

// options is what the flags say.
type options struct {
	// Where packets come from: one of the first two.
	files   []string
	device  string
	ports   []uint16
	snap    int64 // bytes
	buffer  int64 // bytes
	mirrors bool
	promisc bool
	maximum time.Duration

	// What cannot be guessed.
	backends, vips []judge.Endpoint
	certificate    string

	// Bounds.
	maxConns int
	memory   int64 // bytes that wait for their handshake

	// Where the findings go.
	json, html string
	watch      bool
	every      time.Duration
	admin      string
	anonymize  anonymity
	// anonymizeKey is a secret of the hashes; empty: the machine's.
	anonymizeKey string
}

// anonymity says which outputs hide addresses and names.
type anonymity uint8

const (
	anonymizeAuto anonymity = iota // files
	anonymizeOn
	anonymizeOff
)

func (a anonymity) String() string { return [...]string{"auto", "on", "off"}[a] }

const (
	defaultPort = 443
	anyPort     = 0 // in options.ports
)

// NewCommand is `homing observe`.
func NewCommand() *cobra.Command {
	o := &options{
		snap: capture.DefaultSnap, buffer: capture.DefaultBuffer, maxConns: 200_000, memory: flow.DefaultMaxBytes, every: 2 * time.Second,
	}
	cmd := &cobra.Command{
		Use:   "observe",
		Short: "Tell what becomes of TLS resumptions in captured or live traffic, and what homing would save",
		Long: `Reads traffic that flows already, from capture files or from an interface, and tells what becomes of TLS resumptions behind
the balancer of today, and what homing would have made of them. It never sends a packet, and decrypts nothing.

Between balancer and servers, or on the balancer itself, issuers are seen and losses counted exactly. Before the balancer
one address stands for all servers: then there are bounds. The report says which of the two it found.`,
		Example: `  tcpdump -i any -w - tcp port 443 | homing observe --pcap -
  homing observe --pcap trace.pcapng --html report.html
  homing observe --interface eth0 --watch`,
		Args: usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), o, cmd.InOrStdin(), cmd.OutOrStdout(), os.Stderr)
		},
	}
	o.bind(cmd)
	cmd.AddCommand(&cobra.Command{
		Use: "json-fields", Short: "Print every field of --json, and what it means", Args: usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return report.WriteFields(cmd.OutOrStdout()) },
	})
	return cmd
}

// bind makes the flags.
func (o *options) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.Var(value.Several[string]{P: &o.files, Parse: parseFile, Kind: "FILE"}, "pcap",
		"a capture file, pcap or pcapng, gzipped or not; - is stdin; repeatable: files are merged by time")
	flags.Var(value.Path(&o.device, "NAME"), "interface", "the interface to listen on, any for all (Linux, CAP_NET_RAW)")
	flags.Var(value.Several[uint16]{P: &o.ports, Parse: parsePort, Kind: "PORT"}, "port",
		"a port of the servers, or any, repeatable (default 443)")
	flags.BoolVar(&o.promisc, "promiscuous", false, "with --interface: take frames for other machines too, as on a mirror port")
	flags.BoolVar(&o.mirrors, "mirrors", false, "with --interface: look into GRE, ERSPAN and VXLAN that end here")
	flags.Var(value.Bytes{P: &o.snap, Min: 256, Max: capture.DefaultSnap}, "snap",
		"with --interface: bytes of each packet to take; offload makes packets of 64 KiB")
	flags.Var(value.Bytes{P: &o.buffer, Min: 1 << 20, Max: 4 << 30}, "buffer", "with --interface: bytes of packets that the kernel keeps for us")
	flags.Var(value.Duration{P: &o.maximum, Max: 365 * 24 * time.Hour, Zero: value.ZeroItself}, "for",
		"with --interface: stop after this time; 0: when interrupted")
	endpoint := func(p *[]judge.Endpoint) value.Several[judge.Endpoint] {
		return value.Several[judge.Endpoint]{P: p, Parse: judge.ParseEndpoint, Kind: "ADDR[:PORT]"}
	}
	flags.Var(endpoint(&o.backends), "backend", "the address of a server behind the balancer, repeatable")
	flags.Var(endpoint(&o.vips), "vip", "an address of the balancer for clients, repeatable")
	flags.Var(value.Text{P: &o.certificate, Check: checkCertificate, Kind: "TYPE"}, "certificate",
		"what a full handshake costs a server: the time to sign with rsa2048, rsa3072, rsa4096, p256, p384 or ed25519, measured here, "+
			"or one such as 900us (default: what servers show in TLS 1.2, else rsa2048 and p256)")
	flags.Var(value.Int{P: &o.maxConns, Min: 100, Max: 10_000_000}, "max-conns", "conns followed at a time; what gives way is counted")
	flags.Var(value.Bytes{P: &o.memory, Min: 1 << 20, Max: 64 << 30}, "memory-limit", "bytes of handshakes that wait for packets before them")
	flags.Var(value.Path(&o.json, "FILE"), "json",
		"write the findings as JSON to this file, see homing observe json-fields; - is stdout, instead of the text")
	flags.Var(value.Path(&o.html, "FILE"), "html", "write the report as one page to this file")
	flags.BoolVar(&o.watch, "watch", false, "tell again and again while packets come: the last minute, and the whole")
	flags.Var(value.Duration{P: &o.every, Min: 100 * time.Millisecond, Max: time.Hour}, "every", "with --watch: the time between two looks")
	flags.Var(value.Path(&o.admin, "ADDR"), "admin",
		"with --interface: serve Prometheus metrics here, such as 127.0.0.1:9091 or unix:/PATH")
	flags.Var(value.Words(&o.anonymize, anonymizeAuto, anonymizeOn, anonymizeOff), "anonymize",
		"hashes in place of addresses and names; auto: in what is written to files")
	flags.Var(value.Path(&o.anonymizeKey, "TEXT"), "anonymize-key",
		"a secret of these hashes, to have the same ones on several machines (default: this machine's)")
}

func parseFile(s string) (string, error) {
	if s == "" {
		return "", errors.New("is empty: give the name of a file")
	}
	return s, nil
}

func parsePort(s string) (uint16, error) {
	if s == "any" {
		return anyPort, nil
	}
	if err := value.CheckPort(s, 1); err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err
}

// validate refuses what does not go together.
func (o *options) validate() error {
	switch {
	case o.device == "" && len(o.files) == 0:
		return errors.New("nothing to observe: give --pcap FILE or --interface NAME")
	case o.device != "" && len(o.files) > 0:
		return errors.New("--pcap and --interface exclude each other: give one of them")
	case o.device != "" && runtime.GOOS != "linux":
		return fmt.Errorf("--interface is for Linux: on %s give --pcap FILE", runtime.GOOS)
	case o.device == "" && o.admin != "":
		return errors.New("--admin is for --interface: a file is soon over")
	case o.watch && o.json == "-":
		return errors.New("--watch and --json - would both write to stdout: give --json a file")
	case o.promisc && o.device == "any":
		return errors.New("--promiscuous needs one interface: give --interface its name")
	case o.device == "" && o.maximum != 0:
		return errors.New("--for is for --interface: a file is read to its end")
	}
	if _, err := adminAddress(o.admin); err != nil {
		return err
	}
	for _, e := range o.backends {
		for _, v := range o.vips {
			if e.Covers(v) || v.Covers(e) {
				return fmt.Errorf("--backend %v and --vip %v are the same: an address is one of the two", e, v)
			}
		}
	}
	if len(o.ports) == 0 {
		o.ports = append(o.ports, defaultPort)
		for _, e := range append(append([]judge.Endpoint(nil), o.backends...), o.vips...) {
			if e.Port != 0 {
				o.ports = append(o.ports, e.Port)
			}
		}
	}
	if slices.Contains(o.ports, anyPort) {
		o.ports = nil
	}
	return nil
}

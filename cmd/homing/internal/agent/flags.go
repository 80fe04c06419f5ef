package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"homing/cmd/homing/internal/config"
	"homing/cmd/homing/internal/value"
	"homing/cmd/internal/usage"
)

// options is what the flags of `homing agent` say.
type options struct {
	config.Member
	backend netip.AddrPort
	pool    string
	weight  int

	question                    config.Question
	checkInterval, checkTimeout time.Duration
	rise, fall                  int
	drainTime                   time.Duration

	log      value.LogFormat
	logLevel slog.Level
	logFile  string
}

func defaultOptions() *options {
	return &options{
		Member: config.Member{Label: "homing"},
		pool:   "default", weight: 1, question: config.DefaultQuestion(),
		checkInterval: time.Second, checkTimeout: time.Second, rise: 2, fall: 2,
	}
}

// flagTable is every flag of `homing agent`, bound to o.
func flagTable(o *options) []config.Group {
	return []config.Group{
		{Title: "What is announced", Rows: []config.Row{
			{
				Flag: "backend", Value: value.AddrPort{P: &o.backend},
				Doc: "the server beside this agent, as nodes connect to it, such as 192.0.2.7:443",
			},
			{
				Flag: "pool", Value: value.Text{P: &o.pool, Check: value.CheckPath, Kind: "NAME"},
				Doc: "the pool that it serves",
			},
			{
				Flag: "weight", Value: value.Int{P: &o.weight, Min: 1, Max: 1000},
				Doc: "its share of fresh handshakes relative to the others",
			},
			{Flag: "drain-time", Value: value.Duration{
				P: &o.drainTime, Min: time.Millisecond, Max: 30 * 24 * time.Hour, Zero: value.ZeroItself,
			}, Doc: "on SIGTERM: ask for no fresh handshakes for so long, then leave; 0: leave at once"},
		}},
		{Title: "Checks", Rows: append([]config.Row{
			{Flag: "check-interval", Value: value.Duration{
				P: &o.checkInterval, Min: 100 * time.Millisecond, Max: time.Hour,
			}, Doc: "between two checks"},
			{Flag: "check-timeout", Value: value.Duration{
				P: &o.checkTimeout, Min: 10 * time.Millisecond, Max: time.Hour,
			}, Doc: "for one check"},
			{
				Flag: "rise", Value: value.Int{P: &o.rise, Min: 1, Max: 100},
				Doc: "successes in a row until it is announced again; at the start one is enough",
			},
			{
				Flag: "fall", Value: value.Int{P: &o.fall, Min: 1, Max: 100},
				Doc: "failures in a row until it is withdrawn",
			},
		}, config.QuestionRows(&o.question)...)},
		{Title: "Cluster", Rows: append(config.MemberRows(&o.Member),
			config.Row{
				Flag: "cluster-bind", Value: value.AddrPort{P: &o.Bind},
				Doc: "gossip here, TCP and UDP; nodes connect to it; not given: the address of --backend, any port",
			})},
		{Title: "Seeing", Rows: []config.Row{
			{Flag: "log", Value: value.LogFormats(&o.log), Doc: "how to log"},
			{Flag: "log-level", Value: value.LogLevels(&o.logLevel), Doc: "log nothing below this"},
			{
				Flag: "log-file", Value: value.Text{P: &o.logFile, Check: value.CheckPath, Kind: "FILE"},
				Doc: "append the log to this file; not given: stderr, which a Windows service does not have",
			},
		}},
	}
}

// NewCommand is `homing agent`. version is that of the program.
func NewCommand(version string) *cobra.Command {
	o := defaultOptions()
	cmd := &cobra.Command{
		Use:   "agent --backend ADDR --cluster-join ADDR [flags]",
		Short: "Announce the server beside it to the nodes of a cluster",
		Args:  usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), o, version, cmd.ErrOrStderr())
		},
	}
	config.BindCommand(cmd, flagTable(o), flagTable(defaultOptions()), notes)
	return cmd
}

const notes = `
The server needs no change. While it answers the nodes send conns to it; when it does not, or the agent stops, they stop
within 2 s, and open conns go on. An agent that is killed withdraws nothing: the nodes' own checks decide then.
SIGUSR1 asks for no fresh handshakes, SIGUSR2 takes that back; as a Windows service, pause and continue do the same:
  sc.exe create homing-agent start= auto binPath= "C:\homing\homing.exe agent --backend ... --log-file C:\homing\agent.log"
The file of gossip keys is read again when it changes.
Exit codes: 0 left; 1 failed while running; 2 nothing was started, stderr says why.
`

// validate refuses what no single flag can see, and fills in what others give.
func (o *options) validate() error {
	switch {
	case !o.backend.IsValid():
		return errors.New("--backend is missing: say where the server is, such as --backend 192.0.2.7:443")
	case o.backend.Port() == 0 || o.backend.Addr().IsUnspecified() || o.backend.Addr().IsMulticast():
		return fmt.Errorf("--backend %q: nodes cannot connect there: give the address and port that they see",
			o.backend)
	case len(o.Join) == 0:
		return errors.New("--cluster-join is missing: say where a node is, such as --cluster-join 192.0.2.1:7946")
	}
	if !o.Bind.IsValid() {
		o.Bind = netip.AddrPortFrom(o.backend.Addr(), 0)
	}
	return nil
}

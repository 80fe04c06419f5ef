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

	checks    config.Checks
	drainTime time.Duration

	log      value.LogFormat
	logLevel slog.Level
	logFile  string
}

func defaultOptions() *options {
	return &options{
		Member: config.Member{Label: "homing"},
		pool:   config.DefaultPool, weight: 1,
		checks: config.Checks{
			Interval: time.Second, Timeout: time.Second, Rise: 2, Fall: 2, Question: config.DefaultQuestion(),
		},
	}
}

// flagTable is every flag of `homing agent`, bound to o.
func flagTable(o *options) []config.Group {
	flag := func(name string, v value.Value, doc string) config.Row {
		return config.Row{Flag: name, Value: v, Doc: doc}
	}
	span := func(p *time.Duration, least, most time.Duration) value.Duration {
		return value.Duration{P: p, Min: least, Max: most}
	}
	return []config.Group{
		{Title: "What is announced", Rows: []config.Row{
			flag("backend", value.AddrPort{P: &o.backend},
				"the server beside this agent, as nodes connect to it, such as 192.0.2.7:443"),
			flag("pool", value.Path(&o.pool, "NAME"), "the pool that it serves"),
			flag("weight", value.Int{P: &o.weight, Min: 1, Max: 1000}, "its share of fresh handshakes relative to the others"),
			flag("drain-time",
				value.Duration{P: &o.drainTime, Min: time.Millisecond, Max: 30 * 24 * time.Hour, Zero: value.ZeroItself},
				"on SIGTERM: ask for no fresh handshakes for so long, then leave; 0: leave at once"),
		}},
		{Title: "Checks", Rows: append([]config.Row{
			flag("check-interval", span(&o.checks.Interval, 100*time.Millisecond, time.Hour), "between two checks"),
			flag("check-timeout", span(&o.checks.Timeout, 10*time.Millisecond, time.Hour), "for one check"),
			flag("rise", value.Int{P: &o.checks.Rise, Min: 1, Max: 100},
				"successes in a row until it is announced again; at the start one is enough"),
			flag("fall", value.Int{P: &o.checks.Fall, Min: 1, Max: 100}, "failures in a row until it is withdrawn"),
		}, config.QuestionRows(&o.checks.Question)...)},
		{Title: "Cluster", Rows: append(config.MemberRows(&o.Member),
			flag("cluster-bind", value.AddrPort{P: &o.Bind},
				"gossip here, TCP and UDP; nodes connect to it; not given: the address of --backend, any port"))},
		{Title: "Seeing", Rows: []config.Row{
			flag("log", value.LogFormats(&o.log), "how to log"),
			flag("log-level", value.LogLevels(&o.logLevel), "log nothing below this"),
			flag("log-file", value.Path(&o.logFile, "FILE"),
				"append the log to this file; not given: stderr, which a Windows service does not have"),
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

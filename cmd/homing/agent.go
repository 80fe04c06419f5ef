package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"homing/balancer/health"
	"homing/cluster"
	"homing/cmd/homing/internal/config"
	"homing/cmd/homing/internal/value"
	"homing/cmd/internal/usage"
)

// agentOptions is what the flags of `homing agent` say.
type agentOptions struct {
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

func defaultAgentOptions() *agentOptions {
	return &agentOptions{
		Member: config.Member{Label: "homing"},
		pool:   "default", weight: 1, question: config.DefaultQuestion(),
		checkInterval: time.Second, checkTimeout: time.Second, rise: 2, fall: 2,
	}
}

// agentFlagTable is every flag of `homing agent`, bound to o.
func agentFlagTable(o *agentOptions) []config.Group {
	return []config.Group{
		{Title: "What is announced", Rows: []config.Row{
			{Flag: "backend", Value: value.AddrPort{P: &o.backend}, Doc: "the server beside this agent, as nodes connect to it, such as 192.0.2.7:443"},
			{Flag: "pool", Value: value.Text{P: &o.pool, Check: value.CheckPath, Kind: "NAME"}, Doc: "the pool that it serves"},
			{Flag: "weight", Value: value.Int{P: &o.weight, Min: 1, Max: 1000}, Doc: "its share of fresh handshakes relative to the others"},
			{Flag: "drain-time", Value: value.Duration{P: &o.drainTime, Min: time.Millisecond, Max: 30 * 24 * time.Hour, ZeroIs: "leave at once"}, Doc: "on SIGTERM: ask for no fresh handshakes for so long, then leave; 0: leave at once"},
		}},
		{Title: "Checks", Rows: append([]config.Row{
			{Flag: "check-interval", Value: value.Duration{P: &o.checkInterval, Min: 100 * time.Millisecond, Max: time.Hour}, Doc: "between two checks"},
			{Flag: "check-timeout", Value: value.Duration{P: &o.checkTimeout, Min: 10 * time.Millisecond, Max: time.Hour}, Doc: "for one check"},
			{Flag: "rise", Value: value.Int{P: &o.rise, Min: 1, Max: 100}, Doc: "successes in a row until it is announced again; at the start one is enough"},
			{Flag: "fall", Value: value.Int{P: &o.fall, Min: 1, Max: 100}, Doc: "failures in a row until it is withdrawn"},
		}, config.QuestionRows(&o.question)...)},
		{Title: "Cluster", Rows: append(config.MemberRows(&o.Member),
			config.Row{Flag: "cluster-bind", Value: value.AddrPort{P: &o.Bind}, Doc: "gossip here, TCP and UDP; nodes connect to it; not given: the address of --backend, any port"})},
		{Title: "Seeing", Rows: []config.Row{
			{Flag: "log", Value: value.LogFormats(&o.log), Doc: "how to log"},
			{Flag: "log-level", Value: value.LogLevels(&o.logLevel), Doc: "log nothing below this"},
			{Flag: "log-file", Value: value.Text{P: &o.logFile, Check: value.CheckPath, Kind: "FILE"}, Doc: "append the log to this file; not given: stderr, which a Windows service does not have"},
		}},
	}
}

func newAgentCommand() *cobra.Command {
	o := defaultAgentOptions()
	table := agentFlagTable(o)
	cmd := &cobra.Command{
		Use:   "agent --backend ADDR --cluster-join ADDR [flags]",
		Short: "Announce the server beside it to the nodes of a cluster",
		Args:  usage.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runAgent(cmd.Context(), o, cmd.ErrOrStderr()) },
	}
	cmd.Flags().SortFlags = false
	config.Bind(cmd.Flags(), table)
	setHelp(cmd, agentFlagTable(defaultAgentOptions()), agentNotes)
	return cmd
}

const agentNotes = `
The server needs no change. While it answers the nodes send conns to it; when it does not, or the agent stops, they stop
within 2 s, and open conns go on. An agent that is killed withdraws nothing: the nodes' own checks decide then.
SIGUSR1 asks for no fresh handshakes, SIGUSR2 takes that back; as a Windows service, pause and continue do the same:
  sc.exe create homing-agent start= auto binPath= "C:\homing\homing.exe agent --backend ... --log-file C:\homing\agent.log"
The file of gossip keys is read again when it changes.
Exit codes: 0 left; 1 failed while running; 2 nothing was started, stderr says why.
`

// validate refuses what no single flag can see, and fills in what others give.
func (o *agentOptions) validate() error {
	switch {
	case !o.backend.IsValid():
		return errors.New("--backend is missing: say where the server is, such as --backend 192.0.2.7:443")
	case o.backend.Port() == 0 || o.backend.Addr().IsUnspecified() || o.backend.Addr().IsMulticast():
		return fmt.Errorf("--backend %q: nodes cannot connect there: give the address and port that they see", o.backend)
	case len(o.Join) == 0:
		return errors.New("--cluster-join is missing: say where a node is, such as --cluster-join 192.0.2.1:7946")
	}
	if !o.Bind.IsValid() {
		o.Bind = netip.AddrPortFrom(o.backend.Addr(), 0)
	}
	return nil
}

// runAgent is the whole life of an agent.
func runAgent(ctx context.Context, o *agentOptions, stderr io.Writer) error {
	if err := o.validate(); err != nil {
		return err
	}
	if o.logFile != "" {
		file, err := os.OpenFile(o.logFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
		if err != nil {
			return fmt.Errorf("--log-file: %w", err)
		}
		defer file.Close()
		queue := newLogQueue(file)
		defer queue.close(flushTime)
		stderr = queue
	}
	return underControl(func(control <-chan agentOrder) error {
		a, err := newAgent(o, newLogs(stderr, o.log, o.logLevel).Logger)
		if err != nil {
			return err
		}
		return a.run(ctx, control)
	})
}

// agentOrder is what an operator, or the system, tells an agent.
type agentOrder uint8

const (
	orderDrain agentOrder = iota
	orderServe
	orderStop
)

// agent announces one backend.
type agent struct {
	// Static after newAgent.
	options    *agentOptions
	log        *slog.Logger
	checker    *health.Checker
	membership *cluster.Membership
	keys       *cluster.Keyring // nil without a key

	// Owned by run.
	up, draining bool
	refused      string // what the log knows of nodes that refuse what is announced
	refusedSaid  time.Time
}

func newAgent(o *agentOptions, log *slog.Logger) (*agent, error) {
	cfg, err := memberConfig(&o.Member, "", log)
	if err != nil {
		return nil, err
	}
	cfg.Meta.Role, cfg.Meta.State = cluster.RoleAgent, cluster.StateDown // until a check says otherwise
	cfg.Meta.Announced = cluster.Announcement{
		Pool: o.pool, Backend: o.backend, Weight: uint16(o.weight), Started: time.Now().UnixNano(),
	}
	a := &agent{options: o, log: log, keys: cfg.Keys}
	if a.checker, err = newAgentChecker(o, log); err != nil {
		return nil, err
	}
	if a.membership, err = cluster.Create(cfg); err != nil {
		return nil, explainMember(&o.Member, err)
	}
	log.Info("agent", slog.String("version", version), slog.String("backend", o.backend.String()), slog.String("pool", o.pool),
		slog.Int("weight", o.weight), slog.String("addr", a.membership.Addr().String()), slog.String("id", cfg.ID), slog.Bool("encrypted", cfg.Keys != nil))
	return a, nil
}

// run announces until it is told to stop, or ctx is done. At the end the nodes know that the agent left.
func (a *agent) run(ctx context.Context, control <-chan agentOrder) error {
	inner, cancel := context.WithCancel(context.Background())
	member := make(chan struct{})
	go func() {
		defer close(member)
		a.membership.Run(inner)
	}()
	a.serve(ctx, control)
	cancel()
	<-member
	err := errors.Join(a.membership.Leave(agentLeaveTimeout), a.membership.Shutdown())
	if err != nil {
		return usage.Failed(err)
	}
	a.log.Info("left")
	return nil
}

// agentLeaveTimeout bounds the wait until the nodes know that the agent left.
const agentLeaveTimeout = 4 * time.Second

// serve checks and announces until it is told to stop, and the drain time is over.
func (a *agent) serve(ctx context.Context, control <-chan agentOrder) {
	checks, stop := context.WithCancel(ctx)
	states := make(chan bool)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.watch(checks, states)
	}()
	defer func() { <-ended }()
	defer stop()
	files := time.NewTicker(keyFileEvery)
	defer files.Stop()
	watched := a.keyFile()
	var over <-chan time.Time // set when the agent was told to stop
	for {
		select {
		case <-ctx.Done():
			return
		case <-over:
			return
		case a.up = <-states:
			a.announce()
		case <-files.C:
			watched = a.reloadKeys(watched)
			a.sayRefused(a.membership.Refusals())
		case order := <-control:
			a.log.Info("told to " + order.String())
			a.draining = order != orderServe
			if order == orderStop {
				if a.options.drainTime == 0 || over != nil {
					return
				}
				over = time.After(a.options.drainTime)
			}
			a.announce()
		}
	}
}

func (o agentOrder) String() string {
	switch o {
	case orderDrain:
		return "drain"
	case orderServe:
		return "serve"
	case orderStop:
		return "stop"
	}
	return "invalid"
}

// announce tells the nodes how the backend is.
func (a *agent) announce() {
	state := cluster.StateDown
	switch {
	case a.up && a.draining:
		state = cluster.StateDraining
	case a.up:
		state = cluster.StateServing
	}
	a.log.Info("announced", slog.String("backend", a.options.backend.String()), slog.String("state", state.String()))
	if err := a.membership.Update(func(m *cluster.Meta) { m.State = state }); err != nil {
		a.log.Error("cannot be announced", slog.Any("error", err))
	}
}

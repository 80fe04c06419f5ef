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

	"homing/cluster"
)

// agentOptions is what the flags of `homing agent` say.
type agentOptions struct {
	clusterOptions
	backend netip.AddrPort
	pool    string
	weight  int

	check                       checkKind
	checkInterval, checkTimeout time.Duration
	rise, fall                  int
	drainTime                   time.Duration

	log      logFormat
	logLevel slog.Level
	logFile  string
}

func defaultAgentOptions() *agentOptions {
	return &agentOptions{
		clusterOptions: clusterOptions{label: "homing"},
		pool:           "default", weight: 1,
		checkInterval: time.Second, checkTimeout: time.Second, rise: 2, fall: 2,
	}
}

// agentFlagTable is every flag of `homing agent`, bound to o.
func agentFlagTable(o *agentOptions) []flagGroup {
	return []flagGroup{
		{"What is announced", []flagRow{
			{"backend", addrPortValue{&o.backend}, "the server beside this agent, as nodes connect to it, such as 192.0.2.7:443"},
			{"pool", stringValue{&o.pool, notEmpty, "NAME"}, "the pool that it serves"},
			{"weight", intValue{&o.weight, 1, 1000}, "its share of fresh handshakes relative to the others"},
			{"drain-time", durationValue{&o.drainTime, time.Millisecond, 30 * 24 * time.Hour, "leave at once"}, "on SIGTERM: ask for no fresh handshakes for so long, then leave; 0: leave at once"},
		}},
		{"Checks", []flagRow{
			{"check", enumValue[checkKind]{&o.check, []choice[checkKind]{{"tcp", checkTCP}, {"tls", checkTLS}}}, "tcp: it accepts a conn; tls: it completes a handshake, whatever its certificate"},
			{"check-interval", durationValue{p: &o.checkInterval, min: 100 * time.Millisecond, max: time.Hour}, "between two checks"},
			{"check-timeout", durationValue{p: &o.checkTimeout, min: 10 * time.Millisecond, max: time.Hour}, "for one check"},
			{"rise", intValue{&o.rise, 1, 100}, "successes in a row until it is announced again; at the start one is enough"},
			{"fall", intValue{&o.fall, 1, 100}, "failures in a row until it is withdrawn"},
		}},
		{"Cluster", append(memberRows(&o.clusterOptions),
			flagRow{"cluster-bind", addrPortValue{&o.bind}, "gossip here, TCP and UDP; not given: the address of --backend, any port"})},
		{"Seeing", []flagRow{
			{"log", enumValue[logFormat]{&o.log, []choice[logFormat]{{"text", logText}, {"json", logJSON}, {"off", logOff}}}, "how to log"},
			{"log-level", enumValue[slog.Level]{&o.logLevel, []choice[slog.Level]{{"debug", slog.LevelDebug}, {"info", slog.LevelInfo}, {"warn", slog.LevelWarn}, {"error", slog.LevelError}}}, "log nothing below this"},
			{"log-file", stringValue{&o.logFile, notEmpty, "FILE"}, "append the log to this file; not given: stderr, which a Windows service does not have"},
		}},
	}
}

func newAgentCommand() *cobra.Command {
	o := defaultAgentOptions()
	table := agentFlagTable(o)
	cmd := &cobra.Command{
		Use:   "agent --backend ADDR --cluster-join ADDR [flags]",
		Short: "Announce the server beside it to the nodes of a cluster",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runAgent(cmd.Context(), o, cmd.ErrOrStderr()) },
	}
	cmd.Flags().SortFlags = false
	bind(cmd.Flags(), table)
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
	case o.backend.Port() == 0 || o.backend.Addr().IsUnspecified() || o.backend.Addr().IsMulticast() || o.backend.Addr().Zone() != "":
		return fmt.Errorf("--backend %q: nodes cannot connect there: give the address and port that they see", o.backend)
	case len(o.join) == 0:
		return errors.New("--cluster-join is missing: say where a node is, such as --cluster-join 192.0.2.1:7946")
	}
	if !o.bind.IsValid() {
		o.bind = netip.AddrPortFrom(o.backend.Addr(), 0)
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
		stderr = file
	}
	return underControl(func(control <-chan agentOrder) error {
		a, err := newAgent(o, newLogger(stderr, o.log, o.logLevel))
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
	membership *cluster.Membership
	keys       *cluster.Keyring // nil without a key

	// Owned by run.
	up, draining bool
}

func newAgent(o *agentOptions, log *slog.Logger) (*agent, error) {
	cfg, err := o.config(log)
	if err != nil {
		return nil, err
	}
	cfg.Meta.Role, cfg.Meta.State = cluster.RoleAgent, cluster.StateDown // until a check says otherwise
	cfg.Meta.Announced = cluster.Announcement{
		Pool: o.pool, Backend: o.backend, Weight: uint16(o.weight), Started: time.Now().UnixNano(),
	}
	a := &agent{options: o, log: log, keys: cfg.Keys}
	if a.membership, err = cluster.Create(cfg); err != nil {
		return nil, o.explainMember(err)
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
		return &runError{err}
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

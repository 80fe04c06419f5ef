//go:build linux

package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"homing/cmd/homing/internal/config"
	"homing/cmd/homing/internal/logging"
	"homing/cmd/homing/internal/task"
	"homing/cmd/homing/internal/upgrade"
	"homing/cmd/internal/usage"
)

// NewCommand is `homing run`. version is that of the program.
func NewCommand(version string) *cobra.Command {
	flags := config.NewFlags()
	cmd := &cobra.Command{
		Use:   "run --listen ADDR --backend ADDR [flags]",
		Short: "Balance conns, and send every resumption to the backend that can accept it",
		Args:  usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			estate, err := upgrade.Import()
			if err != nil {
				return err
			}
			if flags.File == config.Stdin {
				return estate.Fail(errors.New("--config -: the file is read again at each SIGHUP, and standard input " +
					"is not: write it to a file first"))
			}
			c, err := flags.Load()
			if err != nil {
				_ = estate.Fail(err) // which returns it
				return config.Explain(cmd.ErrOrStderr(), err)
			}
			// Registered before anything listens, so that a signal during the start drains too.
			told, unregister := hear()
			defer unregister()
			level := new(slog.LevelVar)
			level.Set(c.Log.Level)
			s, err := assemble(c, version, estate, logging.New(cmd.ErrOrStderr(), c.Log.Format, level), level)
			if err != nil {
				return estate.Fail(flags.Word(err))
			}
			s.flags = flags
			return s.run(cmd.Context(), told)
		},
	}
	config.BindCommand(cmd, flags.Table(), config.NewFlags().Table(), runNotes)
	return cmd
}

const runNotes = `
Durations have a unit (500ms, 30s, 5m, 10h); bytes may have one (16384, 16KiB, 256MiB).
SIGTERM or SIGINT drains: /readyz and the other nodes say so at once; after --drain-delay no new conns are taken, and open ones
may end within --drain-timeout. A second signal skips the delay; one after it ends at once.
SIGHUP reads --config and --node-key-file again and resolves names: all is taken over, or nothing, and the log says why. Of the
node keys the first is shown to others, all are trusted. To replace one without a gap, at every node: add the new one below,
SIGHUP; when all have it put it first, SIGHUP; then take the old one out, SIGHUP.
SIGUSR2 starts this program again, from the same path with the same arguments, and hands all over to it: listeners, tables, the
place in the cluster. If the new one is not ready within --upgrade-timeout nothing has changed, and the log says why.
Exit codes: 0 drained, or the drain timeout was over; 1 failed while running, or a signal cut conns; 2 nothing was started, stderr says why.
`

// signals are what a process is told by others on its machine.
type signals struct {
	end             chan os.Signal // SIGTERM, SIGINT
	reload, upgrade chan os.Signal // SIGHUP, SIGUSR2
}

// hear registers for them.
func hear() (told *signals, unregister func()) {
	told = &signals{make(chan os.Signal, 2), make(chan os.Signal, 1), make(chan os.Signal, 1)}
	signal.Notify(told.end, syscall.SIGTERM, syscall.SIGINT)
	signal.Notify(told.reload, syscall.SIGHUP)
	signal.Notify(told.upgrade, syscall.SIGUSR2)
	return told, func() {
		for _, c := range []chan os.Signal{told.end, told.reload, told.upgrade} {
			signal.Stop(c)
		}
	}
}

// run starts what was assembled and waits until it has ended, by a signal or by itself. Whatever happens, everything
// that was started has ended when it returns.
func (s *service) run(ctx context.Context, told *signals) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.close()
	defer s.background.Wait()
	defer s.stopPools()
	defer cancel()
	s.background.Go(func() { s.store.Run(ctx) })
	if err := s.recall(ctx); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- s.balancer.Run(ctx) }()
	s.start(ctx)
	defer s.alone.Stop()
	s.announce()
	forgetStart()
	s.background.Go(func() { s.reloadAt(ctx, told.reload) })
	upgrading := task.Start(ctx, func(ctx context.Context) { s.upgradeAt(ctx, told.upgrade) })
	e := ending{signals: told.end, kill: cancel, ended: ended}

	select {
	case err := <-ended:
		if err == nil { // ctx was done
			return nil
		}
		return usage.Failed(fmt.Errorf("the balancer ended by itself: %w", err))
	case sig := <-told.end:
		upgrading.Stop() // breaks one off
		select {
		case <-s.upgrader.Replaced(): // it was too late for that
			return s.drain(nil, e)
		default:
		}
		return s.drain(sig, e)
	case <-s.upgrader.Replaced():
		return s.drain(nil, e)
	}
}

//go:build linux

package service

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"homing/balancer"
	"homing/cmd/homing/internal/logging"
	"homing/cmd/internal/usage"
)

// stopMargin is what a stop takes beside the delay and the drain: conns are reset, the cluster is left, the log is
// written.
const stopMargin = 15 * time.Second

// elderEnds bounds the time between an elder's last word and its end: it writes its log.
const elderEnds = 2 * logging.FlushTime

// ending is how a process ends: who can hurry it, and what it waits for.
type ending struct {
	signals <-chan os.Signal   // SIGTERM, SIGINT
	kill    context.CancelFunc // resets what is open
	ended   <-chan error       // the balancer's Run has returned
	spare   int                // signals that are for the whole service: this process is about to end anyway
}

// drain takes the node out of service. Everybody is told at once; for the drain delay it goes on taking conns, so that
// whoever asks has sent the clients elsewhere by then; then the open conns may end within the drain timeout. A signal
// skips the delay; one more ends at once, which is an error. Without a signal another process has taken over, and takes
// the conns.
func (s *service) drain(sig os.Signal, e ending) error {
	t := s.running.Load().config.Timeouts
	timeout, open := slog.Float64("timeout_seconds", t.Drain.Seconds()), slog.Uint64("open", s.balancer.Stats().Open)
	if replaced := sig == nil; replaced {
		s.log.Info("drain", slog.String("because", "another process took over"), timeout, open)
		e.spare = 1
	} else {
		s.draining.Store(true)
		s.notify.Stopping("draining", t.DrainDelay+t.Drain+stopMargin)
		if s.cluster != nil {
			s.cluster.drain()
		}
		s.log.Info("drain", slog.String("signal", sig.String()), timeout, open,
			slog.Float64("delay_seconds", t.DrainDelay.Seconds()))
		if err := s.delayDrain(t.DrainDelay, e); err != nil {
			return err
		}
	}
	limit, stop := context.WithTimeout(context.Background(), t.Drain)
	defer stop()
	err := s.endConns(limit, t.Drain, e)
	s.awaitElder(limit, e)
	if s.forwards != nil {
		s.forwards.stream.Stop() // sends the heir the last of what this process, and its elder, have learned
	}
	return err
}

// awaitElder returns when the process that this one took over from has ended, and what it has learned is here. systemd
// would not let it finish after the main process.
func (s *service) awaitElder(limit context.Context, e ending) {
	select {
	case <-s.elder.ended:
		s.estate.AwaitElder(elderEnds)
	case <-e.signals: // it has that one too, if it was meant
	case <-limit.Done():
	}
}

// delayDrain waits for the drain delay, or a signal. An error is why the balancer has ended meanwhile.
func (s *service) delayDrain(delay time.Duration, e ending) error {
	if delay <= 0 {
		return nil
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case sig := <-e.signals:
		s.log.Info("drain: the rest of the delay is skipped", slog.String("signal", sig.String()))
	case err := <-e.ended:
		return usage.Failed(fmt.Errorf("the balancer ended by itself: %w", err))
	}
	s.log.Info("drain: no new conns from now on", slog.Uint64("open", s.balancer.Stats().Open))
	return nil
}

// endConns lets the open conns end until limit is done, which is after timeout, and resets the rest: that is what was
// asked for, so it is logged and no error. A signal that is not spare ends it at once, which is an error if it cost a conn:
// timeout(1) and some supervisors send theirs twice.
func (s *service) endConns(limit context.Context, timeout time.Duration, e ending) error {
	before := s.cutConns()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_ = s.balancer.Shutdown(limit) // an error is the limit's, and cutConns knows more
	}()
	var hurried os.Signal
wait:
	for {
		select {
		case <-drained:
			break wait
		case sig := <-e.signals:
			if e.spare > 0 {
				e.spare--
				if until, ok := limit.Deadline(); ok {
					s.notify.Extend(time.Until(until) + stopMargin)
				}
				s.log.Info("drain goes on, another signal ends it at once", slog.String("signal", sig.String()))
				continue
			}
			e.kill()
			hurried = sig
			break wait
		}
	}
	if err := <-e.ended; err != nil {
		return usage.Failed(err)
	}
	cut := s.cutConns() - before
	switch {
	case cut > 0 && hurried != nil:
		return usage.Failed(fmt.Errorf("drain: ended at once by a second signal (%s), open conns were cut", hurried))
	case cut > 0 && timeout > 0:
		s.log.Warn("drained, conns that were still open are cut: a longer --drain-timeout waits for them",
			slog.Float64("timeout_seconds", timeout.Seconds()), slog.Uint64("cut", cut))
		return nil
	}
	s.log.Info("drained")
	return nil
}

// cutConns is how many conns this process has reset because it ends.
func (s *service) cutConns() (n uint64) {
	for _, count := range s.balancer.Stats().Terminations[balancer.CauseKilled] {
		n += count
	}
	return n
}

//go:build linux

package upgrade

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Notifier tells systemd, or whoever has set NOTIFY_SOCKET, how this process is (sd_notify(3)). Where nobody has, all
// of it does nothing.
type Notifier struct {
	log *slog.Logger
}

// NewNotifier makes one.
func NewNotifier(log *slog.Logger) *Notifier { return &Notifier{log} }

// Ready says that this process serves, after its start or a reload, however that ended.
func (n *Notifier) Ready(status string) { n.tell(daemon.SdNotifyReady, statusLine(status)) }

// Reloading says that a reload, or an upgrade, begins. Ready or Replaced ends it.
func (n *Notifier) Reloading(status string) {
	n.tell(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", monotonic()), statusLine(status))
}

// Replaced says that another process, which serves, is the one to look after from now on. It is the last that systemd
// hears from this one.
func (n *Notifier) Replaced(pid int, status string) {
	n.tell(fmt.Sprintf("MAINPID=%d", pid), daemon.SdNotifyReady, statusLine(status))
}

// Stopping says that this process is about to end, within a time that TimeoutStopSec= need not know.
func (n *Notifier) Stopping(status string, within time.Duration) {
	n.tell(daemon.SdNotifyStopping, statusLine(status), extension(within))
}

// Extend says that this process, which has been told to stop, ends within a time.
func (n *Notifier) Extend(within time.Duration) { n.tell(extension(within)) }

func extension(within time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", within.Microseconds())
}

// Status says in words what this process does.
func (n *Notifier) Status(status string) { n.tell(statusLine(status)) }

func statusLine(status string) string {
	return "STATUS=" + strings.ReplaceAll(status, "\n", " ")
}

// notifyPatience is how long a message may wait for room in the other end's queue, which holds ten in a fresh network
// namespace (net.unix.max_dgram_qlen). Nothing that this process does waits any longer for whoever does not read.
const notifyPatience = time.Second

func (n *Notifier) tell(lines ...string) {
	if err := notify(strings.Join(lines, "\n")); err != nil {
		n.log.Warn("systemd cannot be told", slog.String("what", lines[0]), slog.Any("error", err))
	}
}

// notify is daemon.SdNotify, which waits for ever.
func notify(state string) error {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(notifyPatience)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return err
}

// monotonic is CLOCK_MONOTONIC in microseconds, as systemd wants it.
func monotonic() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // it knows no error for this clock
	return now.Nano() / int64(time.Microsecond)
}

// Watchdog is how often systemd wants to hear that this process is alive, 0 for never (WatchdogSec=, WATCHDOG_USEC).
// One that is set for another process counts for its heir too.
func Watchdog(log *slog.Logger) time.Duration {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("the watchdog of systemd is off", slog.String("WATCHDOG_USEC", os.Getenv("WATCHDOG_USEC")),
			slog.Any("error", err))
		return 0
	}
	return interval
}

// Watch tells systemd twice per interval that this process is alive, as long as alive returns in time and without an
// error. It returns when ctx is done.
func (n *Notifier) Watch(ctx context.Context, interval time.Duration, alive func(context.Context) error) {
	ticker := time.NewTicker(interval / 2)
	defer ticker.Stop()
	for {
		limit, cancel := context.WithTimeout(ctx, interval/2)
		err := alive(limit)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			n.log.Error("not every loop answers: the watchdog is not fed", slog.Any("error", err))
		default:
			n.tell(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

//go:build linux

package upgrade

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// openTimeout bounds the wait for the elder's parcel, which it has sent by the time its heir asks.
const openTimeout = 10 * time.Second

// Estate is what this process was given when it was started: by an elder, by systemd, or nothing.
type Estate struct {
	// Parcel is what the elder gave, empty if there is none.
	Parcel

	// Elder is its PID, 0 if there is none.
	Elder int

	channel *channel // nil without an elder
	sockets []socket // of systemd
	group   int      // the elder's process group; 0 if it is not known
	heard   bool     // the elder listens to our stderr
	life    int      // pidfd of the elder; 0: there is none
}

// Import takes what this process was given. It is called once, before anything is opened.
func Import() (*Estate, error) {
	e := new(Estate)
	text, ok := os.LookupEnv(envHeir)
	if !ok {
		sockets, err := activated()
		e.sockets = sockets
		return e, err
	}
	if err := os.Unsetenv(envHeir); err != nil { // no child of ours is its heir
		return nil, err
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < heirChannel {
		return nil, fmt.Errorf("%s=%q is no descriptor: it is for upgrades alone, leave it out", envHeir, text)
	}
	if e.channel, err = openChannel(fd); err != nil {
		return nil, fmt.Errorf("%s=%s: %w: it is for upgrades alone, leave it out", envHeir, text, err)
	}
	unix.CloseOnExec(heirStderr)
	e.heard = true
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	if err := e.open(ctx); err != nil {
		return nil, e.Fail(fmt.Errorf("take over from the running process: %w", err))
	}
	return e, nil
}

func (e *Estate) open(ctx context.Context) error {
	hello, err := e.channel.receive(ctx)
	if err != nil {
		return err
	}
	if hello.Kind != kindHello || hello.Protocol != protocol {
		closeAll(hello.files)
		return fmt.Errorf("it hands over in version %d, this program takes %d: restart instead", hello.Protocol,
			protocol)
	}
	e.Elder = hello.PID
	if e.group, err = unix.Getpgid(e.Elder); err != nil { // it may have ended meanwhile
		e.group = 0
	}
	if fd, err := unix.PidfdOpen(e.Elder, 0); err == nil { // Linux before 5.3 has none
		e.life = fd
	}
	given, err := e.channel.receiveParcel(ctx)
	if err != nil {
		return err
	}
	e.Parcel = *given
	return nil
}

// Fail tells the elder why this process ends, and returns the same error.
func (e *Estate) Fail(err error) error {
	if e.channel == nil || err == nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), doneTimeout)
	defer cancel()
	_ = e.channel.send(ctx, &message{Kind: kindFailed, Error: err.Error()}) // it sees our end anyway
	e.Close()
	e.channel.close() // and goes on reading our stderr
	e.channel = nil
	return err
}

// Ready tells the elder that all that can fail is done, with the letters of answer, and returns when this process is to
// accept conns. Without an elder that is at once. On an error nothing may be started.
func (e *Estate) Ready(ctx context.Context, answer *Parcel) error {
	if e.channel == nil {
		return nil
	}
	err := e.channel.send(ctx, &message{Kind: kindReady, PID: os.Getpid(), Letters: answer.letters})
	if err == nil {
		var m *message
		if m, err = e.channel.receive(ctx); err == nil {
			closeAll(m.files)
			if m.Kind != kindServe {
				err = fmt.Errorf("it says %q", m.Kind)
			}
		}
	}
	if err == nil {
		return nil
	}
	e.leave()
	if isGone(err) {
		return errors.New("the running process broke off the upgrade")
	}
	return fmt.Errorf("the running process: %w", err)
}

// Serving tells the elder that this process accepts conns, and returns what it says when it has let go of all else.
// An elder that is gone has let go too. Without one the parcel is empty.
func (e *Estate) Serving(ctx context.Context, log *slog.Logger) *Parcel {
	if e.channel == nil {
		return new(Parcel)
	}
	err := e.channel.send(ctx, &message{Kind: kindServing})
	if err == nil {
		var rest *Parcel
		if rest, err = e.channel.receiveParcel(ctx); err == nil {
			return rest
		}
	}
	e.recoverStderr()
	log.Warn("upgrade: the older process ended in the middle of it, going on without its last words",
		slog.Any("error", err))
	return new(Parcel)
}

// Done tells the elder that this process does all that it did. Descriptors that nobody took are closed.
func (e *Estate) Done() {
	e.Close()
	for _, s := range e.sockets {
		closeAll([]int{s.fd})
	}
	e.sockets = nil
	if e.channel == nil {
		return
	}
	e.recoverStderr()
	if e.group != 0 { // who signals the group, a terminal or a supervisor, means the service
		_ = unix.Setpgid(0, e.group) // in another session it is nobody's business
	}
	ctx, cancel := context.WithTimeout(context.Background(), doneTimeout)
	defer cancel()
	_ = e.channel.send(ctx, &message{Kind: kindDone}) // one that is gone needs to know nothing
	e.leave()
}

// leave ends the talk with the elder.
func (e *Estate) leave() {
	e.recoverStderr()
	e.Close()
	if e.channel != nil {
		e.channel.close()
		e.channel = nil
	}
}

// AwaitElder returns when the elder's process is gone, or the time is over: what it does last is to end.
func (e *Estate) AwaitElder(within time.Duration) {
	if e.life == 0 {
		return
	}
	fds := []unix.PollFd{{Fd: int32(e.life), Events: unix.POLLIN}}
	for until := time.Now().Add(within); ; {
		_, err := unix.Poll(fds, int(max(time.Until(until), 0)/time.Millisecond))
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// recoverStderr makes stderr what it is for the elder, which has listened to it up to now. A second call does nothing.
func (e *Estate) recoverStderr() {
	if !e.heard || e.Elder == 0 {
		return
	}
	if unix.Dup3(heirStderr, 2, 0) == nil {
		_ = unix.Close(heirStderr) // 2 has it now
	}
	e.heard = false
}

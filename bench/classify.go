package bench

import (
	"crypto/tls"
	"errors"
	"fmt"

	"homing/bench/sock"
	"homing/bench/tlscore"
)

var (
	errEnd     = errors.New("the conn was closed before its time")
	errUnasked = &answerError{errors.New("the server sends data that nobody asked for")}
)

// answerError is a fault of the HTTP answer.
type answerError struct{ err error }

func (e *answerError) Error() string { return e.err.Error() }
func (e *answerError) Unwrap() error { return e.err }

func errStatus(status int) error {
	return &answerError{fmt.Errorf("the answer has the status %d", status)}
}

// alertProtocolVersion is of RFC 9846 section 6.
const alertProtocolVersion = 70

// classify says what kind of failure an error is.
func classify(err error) Class {
	for _, c := range []struct {
		err   error
		class Class
	}{
		{sock.Refused, ConnectRefused},
		{sock.NoRoute, Unreachable},
		{sock.NoHost, Unreachable},
		{sock.NoPorts, NoPorts},
		{sock.NoDescriptors, NoDescriptors},
		{sock.TableFull, NoDescriptors},
		{sock.TimedOut, TimedOut},
		{errTimeout, TimedOut},
		{sock.Reset, Reset},
		{sock.BrokenPipe, Reset},
		{errEnd, Closed},
	} {
		if errors.Is(err, c.err) {
			return c.class
		}
	}
	if _, ok := errors.AsType[*answerError](err); ok {
		return Answer
	}
	if _, ok := errors.AsType[*tlscore.CertificateError](err); ok {
		return Certificate
	}
	if _, ok := errors.AsType[*tlscore.VersionError](err); ok {
		return Version
	}
	if alert, ok := errors.AsType[tls.AlertError](err); ok {
		if alert == alertProtocolVersion {
			return Version
		}
		return Alert
	}
	return Protocol
}

package tlscore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// errClosed says that the other side closed the conn in an orderly way where it should have gone on.
var errClosed = errors.New("the other side closed the conn")

// violation is a fault of the server that the client answers with an alert.
type violation struct {
	alert uint8
	err   error
}

func (v *violation) Error() string { return v.err.Error() }
func (v *violation) Unwrap() error { return v.err }

// fail makes an error that is answered with the given alert.
func fail(alert uint8, format string, args ...any) error {
	return &violation{alert, fmt.Errorf(format, args...)}
}

// malformed is the error for a message that cannot be read.
func malformed(what string) error { return fail(alertDecodeError, "%s: %w", what, errMalformed) }

// VersionError says that the server selected a version that was not offered.
type VersionError struct {
	// Version that the server selected.
	Version uint16
}

func (e *VersionError) Error() string {
	return "the server selected " + tls.VersionName(e.Version)
}

// SuiteError says that the server selected a cipher suite that the client does not speak or did not offer.
type SuiteError struct {
	// Suite that the server selected.
	Suite uint16
}

func (e *SuiteError) Error() string {
	return "the server selected " + suiteName(e.Suite) + ", which was not offered"
}

// CertificateError says that the server's certificate was not accepted.
type CertificateError struct {
	// Chain is what the server sent, leaf first; empty when it could not be read.
	Chain []*x509.Certificate
	// Err says why: an error of crypto/x509 when the chain or the name was not accepted.
	Err error
}

func (e *CertificateError) Error() string { return "verify certificate: " + e.Err.Error() }
func (e *CertificateError) Unwrap() error { return e.Err }

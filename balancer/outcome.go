//go:build linux

package balancer

import "homing/balancer/affinity"

// HelloOutcome says what the client's first bytes turned out to be.
type HelloOutcome uint8

// The outcomes of reading a hello.
const (
	HelloTLS     HelloOutcome = iota // a ClientHello
	HelloECH                         // a ClientHello with an encrypted_client_hello extension, real or GREASE
	HelloNames                       // a ClientHello with several server names: treated as fresh
	HelloNoName                      // a ClientHello whose server name is longer than 255 bytes or only a dot: likewise
	HelloSSLv2                       // an SSLv2-style hello: opaque
	HelloOpaque                      // not TLS
	HelloInvalid                     // TLS, but broken
	HelloTooLong                     // beyond the hello limit: goes by its name, if that is in its first bytes
	HelloTimeout                     // not complete at the hello deadline
	HelloClosed                      // the client closed first
	HelloShed                        // dropped because memory ran short, or too many had no hello
	HelloSkipped                     // not read: the listener says tls: off
	NumHelloOutcomes
)

func (o HelloOutcome) String() string {
	return [...]string{
		"tls", "tls_ech", "several_names", "no_host_name", "sslv2", "opaque", "invalid", "too_long", "timeout", "closed",
		"shed", "skipped",
	}[o]
}

// Verdict is what the server's plaintext answer says of an offer.
type Verdict uint8

// The verdicts.
const (
	VerdictNone     Verdict = iota // nothing was offered
	VerdictAccepted                // the session is resumed
	VerdictRefused                 // a full handshake follows
	VerdictUnknown                 // an alert, an unreadable answer, or none in time
	NumVerdicts
)

func (v Verdict) String() string {
	return [...]string{"none", "accepted", "refused", "unknown"}[v]
}

// Lost says why an offer was not accepted: what affinity knows, or why the home could not be used.
type Lost uint8

// The reasons. The first are affinity's.
const (
	LostNone       Lost = iota
	LostUnknown         // nothing was known of the offer
	LostExpired         // the home refused it, its key is still in use
	LostRotated         // the home refused it and has a newer key
	LostMoved           // the home refused it, and its key is others' now
	LostNotKept         // the home refused a session ID: it keeps none, or none for a minute
	LostDown            // the home is down or no longer a backend
	LostOverloaded      // the home has too many open conns
	LostDrained         // the home is drained
	LostECH             // the verdict may speak of a hidden offer
	NumLost
)

func (l Lost) String() string {
	return [...]string{
		"none", "unknown", "expired", "rotated", "moved", "not_kept", "backend_down", "overloaded", "drained", "ech",
	}[l]
}

// lostOf translates affinity's reason.
func lostOf(r affinity.Reason) Lost {
	return [...]Lost{
		affinity.ReasonUnknown: LostUnknown, affinity.ReasonExpired: LostExpired, affinity.ReasonRotated: LostRotated,
		affinity.ReasonMoved: LostMoved, affinity.ReasonNotKept: LostNotKept,
	}[r]
}

// Refusal says which rule of a listener a conn was refused by.
type Refusal uint8

// The refusals.
const (
	RefusedNone        Refusal = iota
	RefusedNoRoute             // no route takes it, and there is no default pool
	RefusedNoTLS               // the listener requires a hello that can be read
	RefusedHeader              // a PROXY header is missing, malformed, or from somebody who may not send one
	RefusedDenied              // its address is in a list of denied networks, or in none of those allowed
	RefusedClientConns         // its network has as many conns open as it may
	RefusedClientRate          // its network opens conns faster than it may
	RefusedPreHello            // too many conns had no whole hello, and it was the oldest of them
	RefusedMemory              // memory is short, and it offers nothing to resume
	NumRefusals
)

func (r Refusal) String() string {
	return [...]string{
		"none", "no_route", "no_tls", "proxy_header", "denied", "source_conns", "source_rate", "pre_hello", "memory",
	}[r]
}

// Hold says why clients are left waiting in the kernel's queue of a listener.
type Hold uint8

// The holds.
const (
	HoldConns    Hold = iota // the node has as many conns as it may
	HoldMemory               // their memory is in use
	HoldListener             // the listener has as many conns as it may
	NumHolds
)

func (h Hold) String() string { return [...]string{"max_conns", "memory", "listener_conns"}[h] }

// Cause is the first letter of a Termination: who ended the conn.
type Cause uint8

// The causes, with HAProxy's letters.
const (
	CauseNormal        Cause = iota // -: both sides closed in order
	CauseClient                     // C: the client reset or closed early
	CauseBackend                    // S: the backend reset, refused or closed early
	CauseClientTimeout              // c: the client was silent too long
	CauseBackTimeout                // s: the backend was silent too long
	CauseResource                   // R: no memory, descriptors, ports or backend
	CauseRefused                    // P: the listener's rules refuse it
	CauseKilled                     // K: shut down by the operator
	CauseDown                       // D: the backend was marked down, see pool.OnDownReset
	NumCauses
)

// Phase is the second letter of a Termination: the state it ended in.
type Phase uint8

// The phases.
const (
	PhaseHello   Phase = iota // H: reading the hello
	PhaseConnect              // C: connecting to a backend
	PhaseAnswer               // A: waiting for the server's first flight
	PhaseData                 // D: relaying
	PhaseLast                 // L: one side had closed in order
	PhaseEnd                  // -: after the last byte of both sides
	PhaseQueue                // Q: waiting for a backend with room
	NumPhases
)

// Termination says how a conn ended.
type Termination struct {
	Cause Cause
	Phase Phase
}

// String returns the two letters.
func (t Termination) String() string {
	return string([]byte{"-CScsRPKD"[t.Cause], "HCADL-Q"[t.Phase]})
}

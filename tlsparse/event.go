package tlsparse

// An Event is the answer of the server side.
type Event uint8

const (
	// EventNone says that all bytes were consumed and nothing is to be told.
	EventNone Event = iota
	// EventHello says that the ServerHello is complete: Version, SessionID
	// and PSKAccepted are known.
	EventHello
	// EventRetry says that a HelloRetryRequest is complete. A second ServerHello follows.
	EventRetry
	// EventTicketPart gives the next piece of the ticket in a TLS <= 1.2
	// NewSessionTicket: TicketPart.
	EventTicketPart
	// EventTicket says that a NewSessionTicket is complete: TicketLifetime, TicketLen.
	EventTicket
	// EventMessage says that the header of another TLS <= 1.2 handshake message
	// was read. Its body is skipped.
	EventMessage
	// EventChangeCipherSpec says that the TLS <= 1.2 server turns to its new keys.
	EventChangeCipherSpec
	// EventAlert gives an alert in clear: Alert. The stream may go on.
	EventAlert
	// EventOpaque says that the bytes from here on cannot be read. It is final.
	EventOpaque
	// EventInvalid says that the server broke the rules of TLS. It is final.
	EventInvalid
	// EventExcess says that the server goes on in clear beyond what a handshake
	// holds: a second ticket, or more than MaxAnswer. It is final.
	EventExcess
)

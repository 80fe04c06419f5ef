package pool

// ProxyHeader says by which version of the PROXY protocol backends are told whom a conn is from.
type ProxyHeader uint8

// The versions.
const (
	ProxyOff ProxyHeader = iota
	ProxyV1              // a line of text: addresses
	ProxyV2              // binary, with the server name and the protocol that the client offers first
)

func (h ProxyHeader) String() string { return [...]string{"off", "v1", "v2"}[h] }

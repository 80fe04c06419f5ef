package flow

// Assembler follows the conns of one capture. It is for one goroutine.
type Assembler struct {
	cfg   Config
	stats Stats
}

// New returns an Assembler with nothing in it.
func New(cfg Config) *Assembler { return &Assembler{cfg: cfg} }

// Flush closes all conns: the capture is over, or nothing before now is of interest. The assembler may be used again.
func (a *Assembler) Flush() {}

// Stats returns what was counted so far.
func (a *Assembler) Stats() Stats { return a.stats }

// track is what an Assembler knows of a conn.
type track struct{}

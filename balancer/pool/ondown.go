package pool

// OnDown says what becomes of the open conns of a backend that is marked down.
type OnDown uint8

const (
	// OnDownKeep leaves them open: a backend may be slow to answer checks and still serve whom it has.
	OnDownKeep OnDown = iota
	// OnDownReset resets them, so that clients connect anew, elsewhere, without waiting for a timeout of their own.
	OnDownReset
)

func (o OnDown) String() string { return [...]string{"keep", "reset"}[o] }

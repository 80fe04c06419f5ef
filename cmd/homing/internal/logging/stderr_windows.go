package logging

import "os"

// Stderr writes to where errors go.
type Stderr struct{}

// Write implements io.Writer.
func (Stderr) Write(b []byte) (int, error) { return os.Stderr.Write(b) }

package main

import "os"

// stderr writes to where errors go.
type stderr struct{}

// Write implements io.Writer.
func (stderr) Write(b []byte) (int, error) { return os.Stderr.Write(b) }

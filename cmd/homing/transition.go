package main

import "homing/cmd/homing/internal/value"

// The old names of what package value has.
type (
	boolValue   = value.Bool
	stringValue = value.Text
)

func checkAdmin(s string) error { return value.CheckAdmin(s) }
func notEmpty(s string) error   { return value.CheckPath(s) }

package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// root is the top of the repository, seen from this package's tests.
const root = "../.."

// TestMain makes this binary be `homing` too, for the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"homing": main})
}

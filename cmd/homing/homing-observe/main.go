// Homing-observe is the command observe of homing, which runs it. It is a program of its own because of what it stands on:
// gopacket's tables of protocols are five megabytes of pointers, at which the collector of each homing would look.
package main

import (
	"context"
	"os"

	"homing/cmd/homing/internal/observe"
)

// version is stamped by the linker: -ldflags '-X main.version=v1.2.3'.
var version = "unstamped"

func main() { os.Exit(observe.Main(context.Background(), version, os.Args[1:])) }

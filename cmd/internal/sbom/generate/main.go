// Generate prints the bill of materials of a program: generate PROGRAM NAME VERSION.
package main

import (
	"fmt"
	"os"

	"homing/cmd/internal/sbom"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: generate PROGRAM NAME VERSION")
		os.Exit(2)
	}
	if err := sbom.Write(os.Stdout, os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Homing brings TLS sessions home: a layer-4 TCP load balancer that sends every resumption to the backend that can
// accept it, without decrypting anything.
//
// Exit codes: 0 done, or drained within the time given, or that time was over; 1 it failed while running, or a second
// signal cut conns; 2 it was asked for something it cannot do (a wrong flag, an address in use, no backend), and
// nothing was started.
//
// The rooms below internal: config (a setting, its flag, key, default, help: a row of rows.go), service (one running homing: pools,
// reload, upgrade, drain), admin (its API and page; a metric: a row of metrics*.go), api (the words of that API), operate (what
// operators ask and order: status, drain, cluster), observe (what becomes of sessions in traffic that flows already: the program
// homing-observe), shortage (what clients are refused for, a row a cause), upgrade (from one process to the next), agent (the command
// beside a backend), member (what node and agent share), logging and logref (how it is written, what each line means), value (how a
// setting is read), transparent (the rules of --transparent), task. What more than one test needs is in bench/testkit.
package main

import (
	"context"
	"log"
	"os"

	"github.com/spf13/cobra"

	"homing/cmd/homing/internal/agent"
	"homing/cmd/homing/internal/logging"
	"homing/cmd/homing/internal/operate"
	"homing/cmd/internal/manual"
	"homing/cmd/internal/usage"
)

// version is stamped by the linker: -ldflags '-X main.version=v1.2.3'.
var version = "unstamped"

func main() {
	queue := logging.NewQueue(logging.Stderr{})
	log.SetOutput(queue) // for what libraries say
	code := usage.Execute(context.Background(), newRootCommand(), os.Args[1:], os.Stdout, queue)
	queue.Close(logging.FlushTime)
	os.Exit(code)
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "homing",
		Short: "A layer-4 TCP load balancer that brings TLS sessions home",
		Long: `homing is a layer-4 TCP load balancer that brings TLS sessions home. It reads the ClientHello and the plaintext
part of the server's answer, decrypts nothing, and sends every resumption to the backend that can accept it.`,
		Annotations: map[string]string{manual.SeeAlso: "**homing.yaml**(5)"},
		Args:        usage.NoArgs,
		RunE:        func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	usage.SetVersion(root, version)
	root.AddCommand(platformCommands()...)
	root.AddCommand(operate.Commands()...)
	root.AddCommand(agent.NewCommand(version), newObserveCommand(), usage.NewVersionCommand(version),
		manual.NewCommand(version, platformPages()...))
	return root
}

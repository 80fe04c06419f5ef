package main

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"homing/bench/diagnose"
	"homing/cmd/internal/usage"
)

// diagnoseFlags are the flags of the command.
type diagnoseFlags struct {
	options diagnose.Options
	ca      string
	sources []string
	json    bool
}

func newDiagnoseCommand() *cobra.Command {
	var f diagnoseFlags
	cmd := &cobra.Command{
		Use:     "diagnose HOST:PORT [HOST:PORT...]",
		GroupID: groupTool,
		Short:   "Say whether a site resumes TLS sessions, and if not, why and what fixes it",
		Long: `diagnose connects to each address as clients of three kinds do (TLS 1.2 by session ID, TLS 1.2 by ticket, TLS 1.3 by PSK),
offers the newest session it was given, and counts what is accepted; then it carries the sessions from one address to
the next. A name that resolves to several addresses means all of them; without a port it is 443.

It prints what was accepted, the sentences that scanners print, what is wrong in plain words, how sure that is and what
would settle it, and what fixes it. It makes about 40 conns to each address and as many for each step to the next, one
after another, up to four times as many where offers are refused, and sends no request unless a server gives its TLS 1.3
tickets only behind one.

A balancer that goes by the client's address cannot be told from one address: --source with two addresses of this
machine carries the sessions from the one to the other.

Exit codes: 0 no resumption is lost; 1 resumptions are lost; 2 an address could not be examined, or the command line is
wrong.`,
		Example: `  homing-bench diagnose www.example.org
  homing-bench diagnose --sni www.example.org --insecure 192.0.2.10:443 192.0.2.11:443
  homing-bench diagnose --source 192.0.2.1,192.0.2.2 www.example.org
  homing-bench diagnose --json www.example.org:443 | jq .findings`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	flags.StringVar(&f.options.Name, "sni", "", "server `name` to send and to verify; default: the name of each target")
	flags.StringSliceVar(&f.options.ALPN, "alpn", nil, "`protocols` to offer, such as h2,http/1.1; default: none")
	flags.BoolVar(&f.options.Insecure, "insecure", false, "take any certificate")
	flags.StringVar(&f.ca, "ca", "", "PEM `file` with the authorities to trust; default: the system's")
	flags.StringSliceVar(&f.sources, "source", nil,
		"`addresses` of this machine to connect from: the first gets sessions, the others offer them too; default: any")
	flags.IntVar(&f.options.Tries, "tries", diagnose.DefaultTries, "offers of each kind, 1 to 100")
	flags.DurationVar(&f.options.Timeout, "timeout", diagnose.DefaultTimeout, "for one conn, such as 5s")
	flags.BoolVar(&f.json, "json", false, "print the report as JSON")
	return cmd
}

func (f *diagnoseFlags) run(cmd *cobra.Command, args []string) error {
	targets, err := f.check(args)
	if err != nil {
		return err
	}
	line := newLiveLine(cmd.ErrOrStderr())
	f.options.Progress = line.show
	defer line.clear()
	report, err := diagnose.Run(cmd.Context(), targets, f.options)
	if cmd.Context().Err() != nil {
		return usage.Failed(errors.New("diagnose: interrupted"))
	}
	if err != nil {
		return err
	}
	line.clear()
	nothing := report.Nothing()
	switch {
	case f.json:
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		err = enc.Encode(report)
	case nothing == "":
		err = report.WriteText(cmd.OutOrStdout())
	}
	switch {
	case err != nil:
		return usage.Failed(err)
	case report.Lost:
		return usage.Exit(usage.ExitFail, nil)
	case nothing != "":
		return errors.New(nothing)
	case report.Incomplete:
		return usage.Exit(usage.ExitUsage, nil)
	}
	return nil
}

// check reads the command line.
func (f *diagnoseFlags) check(args []string) ([]diagnose.Target, error) {
	if len(args) == 0 {
		return nil, errors.New("diagnose needs a target: homing-bench diagnose HOST:PORT")
	}
	if f.options.Tries < 1 || f.options.Tries > diagnose.MaxTries {
		return nil, fmt.Errorf("--tries %d: 1 to %d are possible", f.options.Tries, diagnose.MaxTries)
	}
	if f.options.Timeout <= 0 {
		return nil, fmt.Errorf("--timeout %v: give the time for one conn, such as 5s", f.options.Timeout)
	}
	for _, text := range f.sources {
		addr, err := netip.ParseAddr(text)
		if err != nil || len(f.options.Sources) > 0 && addr.Is4() != f.options.Sources[0].Is4() {
			return nil, fmt.Errorf("--source %s: give IP addresses of this machine, of one family", text)
		}
		f.options.Sources = append(f.options.Sources, addr)
	}
	var targets []diagnose.Target
	for _, arg := range args {
		t, err := diagnose.ParseTarget(arg)
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	if f.ca == "" {
		return targets, nil
	}
	pem, err := os.ReadFile(f.ca)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	f.options.Roots = x509.NewCertPool()
	if !f.options.Roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca %s: no certificate in PEM in it", f.ca)
	}
	return targets, nil
}

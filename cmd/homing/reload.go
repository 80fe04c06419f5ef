package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"homing/cmd/homing/internal/api"
	"homing/cmd/internal/usage"
)

// orderTimeout bounds a reload: names are resolved, and loops follow.
const orderTimeout = time.Minute

func newReloadCommand() *cobra.Command {
	c := &adminClient{}
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have a node read its configuration again, all of it or nothing",
		Long: `Has a running node read its configuration file and its keys again, as SIGHUP does. No conn is dropped. On an error nothing
has changed, and the command says what is wrong.`,
		Args: usage.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.order(cmd.Context(), cmd.OutOrStdout(), "/v1/reload", orderTimeout)
		},
	}
	c.bind(cmd.Flags())
	return cmd
}

// order has the node do something that takes a while, and prints what came of it.
func (c *adminClient) order(ctx context.Context, w io.Writer, path string, timeout time.Duration) error {
	client, err := c.connect()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var done api.Done
	if err := client.Post(ctx, path, api.Empty{}, &done); err != nil {
		return usage.Failed(err)
	}
	_, err = fmt.Fprintln(w, done.Done)
	return err
}

package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
)

func checkAdmin(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return errors.New("not an address with a port: write it such as 127.0.0.1:9090")
	}
	return checkPort(port, 0)
}

func checkPort(s string, least int) error {
	port, err := strconv.Atoi(s)
	if err != nil || port < least || port > 65535 {
		return fmt.Errorf("the port %q is not a number from %d to 65535", s, least)
	}
	return nil
}

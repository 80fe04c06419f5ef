// Package balancers starts the balancers that are compared, each as its manual would have it: homing, HAProxy and nginx's
// stream module, by command line and configuration file in a directory of their own, on free ports of loopback. Nothing
// is known of them but what a user knows.
package balancers

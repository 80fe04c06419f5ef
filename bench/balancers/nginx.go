package balancers

import (
	"fmt"
	"strings"
)

// nginxConfig is nginx as a TCP balancer. What it would open below /var it opens in the node's directory.
func nginxConfig(l *launch, n *node, balance string) string {
	var b strings.Builder
	if l.module != "" {
		fmt.Fprintf(&b, "load_module %s;\n", l.module)
	}
	fmt.Fprintf(&b, "worker_processes %d;\nworker_rlimit_nofile %d;\npid nginx.pid;\nerror_log stderr;\n", l.threads, l.files)
	fmt.Fprintf(&b, "events { worker_connections %d; }\nstream {\n\tupstream backends {\n", min(40_000, l.files))
	b.WriteString(balance)
	for _, addr := range l.backends {
		fmt.Fprintf(&b, "\t\tserver %s;\n", addr)
	}
	fmt.Fprintf(&b, "\t}\n\tserver {\n\t\tlisten %s backlog=4096;\n\t\tproxy_pass backends;\n\t\tproxy_connect_timeout 5s;\n\t}\n}\n", n.addr)
	return b.String()
}

func nginxRoundRobin(l *launch, n *node) string { return nginxConfig(l, n, "") }

func nginxHash(l *launch, n *node) string {
	return nginxConfig(l, n, "\t\thash $remote_addr consistent;\n")
}

package balancers

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the expected command lines in testdata")

// fixed is a launch whose addresses are the same in every run.
func fixed(b Balancer, nodes int) *launch {
	l := &launch{
		balancer: b, program: Program{Path: "/opt/" + b.Family}, module: "/opt/ngx_stream_module.so", threads: 1, files: 20_000,
		backends: []string{"127.0.0.1:21001", "127.0.0.1:21002"},
	}
	for i := range nodes {
		base := 20000 + 10*i
		l.nodes = append(l.nodes, &node{
			name: fmt.Sprintf("node%d", i+1), addr: fmt.Sprintf("127.0.0.1:%d", base),
			admin: fmt.Sprintf("127.0.0.1:%d", base+1), gossip: fmt.Sprintf("127.0.0.1:%d", base+2), replay: fmt.Sprintf("127.0.0.1:%d", base+3),
		})
	}
	return l
}

// What is compared must not change unseen: command lines and files of every balancer, alone and as a pair.
func TestCommandsAndConfigurations(t *testing.T) {
	for _, b := range All() {
		if b.Family == FamilyDirect {
			continue
		}
		t.Run(b.Key, func(t *testing.T) {
			var text strings.Builder
			for nodes := 1; nodes <= 2; nodes++ {
				l := fixed(b, nodes)
				c := l.recipe(l.nodes[0], "/run/bench/node1")
				fmt.Fprintf(&text, "-- %d node(s), the first --\n%s %s\n", nodes, c.Program, strings.Join(c.Args, " "))
				if b.config != nil {
					text.WriteString(b.config(l, l.nodes[0]))
				}
			}
			golden := filepath.Join("testdata", b.Key+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(text.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text.String()); diff != "" {
				t.Errorf("(-want +got), -update rewrites it:\n%s", diff)
			}
		})
	}
}

package operate

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"homing/cmd/homing/internal/api"
	"homing/cmd/internal/usage"
)

// node answers the paths of the API with what is there; a string is refused with that.
func node(t *testing.T, answers map[string]any) (address string, asked *[]string) {
	t.Helper()
	asked = new([]string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.Method+" "+r.RequestURI)
		answer, ok := answers[r.URL.Path]
		if text, no := answer.(string); no || !ok {
			w.WriteHeader(http.StatusConflict)
			answer = api.Error{Error: text}
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, asked
}

// execute runs a command line of homing, with the address of a node at its end.
func execute(t *testing.T, address, line string) (code int, stdout, stderr string) {
	t.Helper()
	root := &cobra.Command{Use: "homing"}
	root.AddCommand(Commands()...)
	var out, wrong bytes.Buffer
	code = usage.Execute(t.Context(), root, append(strings.Fields(line), "--admin", address), &out, &wrong)
	return code, out.String(), wrong.String()
}

// TestCommands: what a node is asked, what is printed of its answer, and how the command ends.
func TestCommands(t *testing.T) {
	const drained, restored = "/v1/backends/192.0.2.1:443/drain", "/v1/backends/192.0.2.1:443/undrain"
	until := time.Now().Add(42*time.Minute + 30*time.Second)
	backend := api.Backend{
		Pool: "web", Address: "192.0.2.1:443", State: "draining", ConnsOpen: 1,
		Drain: api.Drain{Mode: "soft", Since: until.Add(-time.Hour), Until: until}, Known: &api.Known{At: until, Sessions: 1, TicketKeys: 2},
	}
	served := api.Backend{Pool: "web", Address: "192.0.2.1:443", State: "in service"}
	members := api.Cluster{Members: []api.Member{
		{ID: "a1", Name: "lb-1", Asked: true, Role: "node", State: "serving", Addr: "192.0.2.9:7946", Version: "v1", Keys: []string{"k1", "k2"}},
		{ID: "b2", Role: "agent", State: "serving", Addr: "192.0.2.8:7946", Version: "v1", Keys: []string{"k2"}, Pool: "web", Backend: "192.0.2.8:443", Weight: 3},
		{ID: "c3", Name: "lb-3", Role: "node", State: "vanished", Addr: "192.0.2.7:7946", Version: "v0", Keys: []string{"k9"}},
	}}
	for _, tt := range []struct {
		line    string
		answers map[string]any
		asked   string
		code    int
		stdout  string
		stderr  string
	}{
		{"reload", map[string]any{"/v1/reload": api.Done{Done: "it was read again"}}, "POST /v1/reload", usage.ExitOK, "it was read again\n", ""},
		{"upgrade", map[string]any{"/v1/upgrade": "the old process goes on: why"}, "POST /v1/upgrade", usage.ExitFail, "", "homing: refused: the old process goes on: why\n"},
		{"reload now", nil, "", usage.ExitUsage, "", "homing: unknown argument \"now\": see homing reload -h\n"},
		{"reload --admin-ca ca.pem", nil, "", usage.ExitUsage, "", "homing: --admin-ca and --admin-cert are for TLS: write --admin https://ADDRESS\n"},
		{
			"drain 192.0.2.1:443 --pool web",
			map[string]any{drained: api.Changed{Backends: []api.Backend{backend}, Nodes: []api.NodeAnswer{{Node: "a1"}, {Node: "b2"}}}},
			"POST " + drained + "?pool=web", usage.ExitOK,
			"web 192.0.2.1:443: draining, 1 conn open, 1 session and 2 ticket keys lead there, resumptions until " + until.Local().Format(time.TimeOnly) + " (42m left)\nall 2 nodes follow\n", "",
		},
		{
			"drain 192.0.2.1:443",
			map[string]any{drained: api.Changed{Note: "only here", Nodes: []api.NodeAnswer{{Node: "a1"}, {Node: "b2", Name: "lb-2", Error: "no\nanswer"}}}},
			"POST " + drained, usage.ExitFail, "only here\n", "homing: 1 nodes follow, 1 do not: lb-2 (no answer)\n",
		},
		{"drain", nil, "", usage.ExitUsage, "", "homing: give exactly one BACKEND: see homing drain -h\n"},
		{
			"undrain 192.0.2.1:443",
			map[string]any{restored: api.Changed{Backends: []api.Backend{served}, Nodes: []api.NodeAnswer{{}}}},
			"POST " + restored, usage.ExitOK, "web 192.0.2.1:443: in service\n", "",
		},
		{"cluster members", map[string]any{"/v1/cluster": members}, "GET /v1/cluster", usage.ExitOK, `   NAME  ID  ROLE   STATE     ADDR            VERSION  POOL  BACKEND        WEIGHT
*  lb-1  a1  node   serving   192.0.2.9:7946  v1       -     -              -
   -     b2  agent  serving   192.0.2.8:7946  v1       web   192.0.2.8:443  3
   lb-3  c3  node   vanished  192.0.2.7:7946  v0       -     -              -
`, ""},
		{"cluster members", map[string]any{"/v1/cluster": api.Cluster{}}, "GET /v1/cluster", usage.ExitFail, "", "homing: the node is in no cluster: it runs without --cluster-bind\n"},
		{"cluster key list", map[string]any{"/v1/cluster": members}, "GET /v1/cluster", usage.ExitOK, `KEY  USED BY  TRUSTED BY  OF  NOT BY
k1   1        1           2   b2
k2   1        2           2   
`, ""},
		{"cluster drain 192.0.2.1:443", nil, "", usage.ExitUsage, "", "homing: --node-key-file is missing: only nodes may drain backends at others\n"},
		{"cluster undrain backend.example:443", nil, "", usage.ExitUsage, "", "homing: backend \"backend.example:443\": not an IP address with a port: write it such as 192.0.2.7:443, as homing_backend_up has it\n"},
		{"cluster key add 00", nil, "", usage.ExitUsage, "", "homing: --node-key-file is missing: only nodes may rotate the keys\n"},
	} {
		address, asked := node(t, tt.answers)
		code, stdout, stderr := execute(t, address, tt.line)
		want := strings.ReplaceAll(tt.stderr, "ADDRESS", strings.TrimPrefix(address, "http://"))
		if diff := cmp.Diff(tt.stdout, stdout) + cmp.Diff(want, stderr); code != tt.code || diff != "" {
			t.Errorf("%s: code %d, want %d (-want +got):\n%s", tt.line, code, tt.code, diff)
		}
		if got := strings.Join(*asked, ", "); got != tt.asked {
			t.Errorf("%s: asked %q, want %q", tt.line, got, tt.asked)
		}
	}
	if code, _, stderr := execute(t, "127.0.0.1:1", "status"); code != usage.ExitFail || !strings.Contains(stderr, "no answer from 127.0.0.1:1: nobody listens there") {
		t.Errorf("without a node: code %d, %s", code, stderr)
	}
}

package operate

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"homing/cmd/homing/internal/api"
)

// paper is a terminal that keeps what it was shown.
type paper struct {
	lines, columns int
	events         chan terminalEvent
	shown          chan string // closed by close
}

func (p *paper) open(ctx context.Context) (context.Context, <-chan terminalEvent, error) {
	return ctx, p.events, nil
}
func (p *paper) size() (lines, columns int) { return p.lines, p.columns }
func (p *paper) show(text string) error     { p.shown <- text; return nil }
func (p *paper) close()                     { close(p.shown) }

// crowded is a status of many backends in several pools.
func crowded(pools, backends int) *api.Status {
	st := statusForTest()
	st.Totals.Lost = map[string]uint64{"unknown": 1e6, "expired": 1e6, "rotated": 1e6, "backend_down": 1e6, "overloaded": 1e6, "drained": 1e6, "ech": 1e6}
	st.Pools = nil
	for i := range pools {
		one := api.Pool{Name: fmt.Sprintf("pool%d", i), Policy: "round-robin"}
		for j := range backends {
			one.Backends = append(one.Backends, api.Backend{Pool: one.Name, Address: fmt.Sprintf("[2001:db8:1234:5678::%d:%d]:443", i, j), State: "in service", Health: "up", ConnsOpen: j})
		}
		st.Pools = append(st.Pools, one)
	}
	return st
}

// TestScreenFits: whatever the size of the terminal, nothing scrolls and nothing wraps, and each backend is shown or counted.
func TestScreenFits(t *testing.T) {
	for _, many := range [][2]int{{1, 3}, {1, 200}, {40, 5}} {
		st := crowded(many[0], many[1])
		for lines := 2; lines < 60; lines += 3 {
			for _, columns := range []int{20, 40, 79, 80, 81, 132, 250} {
				for _, sort := range []statusSort{sortName, sortConns} {
					p := statusPage{status: st, sort: sort}
					text := p.screen(&paper{lines: lines, columns: columns}, "")
					if !strings.HasPrefix(text, home) || strings.HasSuffix(text, "\n") {
						t.Fatalf("%q", text)
					}
					rows := strings.Split(strings.NewReplacer(home, "", restOfLine, "", restOfScreen, "").Replace(text), "\n")
					if len(rows) > lines {
						t.Fatalf("%d lines on a terminal of %d", len(rows), lines)
					}
					backends := 0
					for _, row := range rows {
						if len([]rune(row)) > columns {
							t.Fatalf("%d columns on a terminal of %d: %s", len(row), columns, row)
						}
						if strings.Contains(row, "..") || strings.Contains(row, "[2001") {
							backends++
						}
					}
					var hidden int
					_, _ = fmt.Sscanf(rows[len(rows)-1], "and %d more", &hidden) // none: 0
					if backends+hidden != many[0]*many[1] {
						t.Fatalf("%d by %d, %v: %d backends are shown and %d counted, of %d:\n%s", columns, lines, sort, backends, hidden, many[0]*many[1], strings.Join(rows, "\n"))
					}
				}
			}
		}
	}
	p := statusPage{status: crowded(1, 3)}
	text := p.screen(&paper{lines: 24, columns: 60}, "no answer since noon")
	if !strings.Contains(text, "unknown 1.0M, expired 1.0M, rotated 1.0M,\n"+restOfLine+"         backend_down 1.0M") || !strings.HasSuffix(text, "no answer since noon") {
		t.Errorf("%q", text)
	}
}

// TestWatch: keys change the order and end it, and a node that goes away and comes back is waited for.
func TestWatch(t *testing.T) {
	var away atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if away.Load() {
			panic(http.ErrAbortHandler)
		}
		_ = json.NewEncoder(w).Encode(crowded(1, 200))
	}))
	defer server.Close()
	address, err := api.ParseAddress(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	client, err := api.NewClient(api.ClientConfig{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	on := &paper{lines: 24, columns: 80, events: make(chan terminalEvent), shown: make(chan string)}
	ended := make(chan error, 1)
	v := &statusViewer{watch: true, every: 20 * time.Millisecond}
	go func() { ended <- v.watchOn(t.Context(), client, on) }()
	await := func(what, want string) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for {
			select {
			case text := <-on.shown:
				if strings.Contains(text, want) {
					return
				}
			case <-deadline:
				t.Fatal("not shown: ", what)
			}
		}
	}
	press := func(key terminalEvent) {
		t.Helper()
		for {
			select {
			case on.events <- key:
				return
			case <-on.shown:
			}
		}
	}
	await("the first backends by name", "5678::0:1]:443")
	press('c')
	await("the busiest", "5678::0:199]:443")
	press('n')
	await("by name again", "5678::0:1]:443")
	press(0)
	await("how many more, and the keys", "more; "+keysHelp)
	away.Store(true)
	await("that nobody answers", "no answer since ")
	away.Store(false)
	await("the keys again", "more; "+keysHelp)
	press('q')
	for range on.shown { // until it is closed
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

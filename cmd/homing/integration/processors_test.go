package integration

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"homing/bench/farm"
)

// However many processors the scheduler is given for however many loops, on either engine: clients come home while the page
// is open, through a reload and an upgrade, and the process ends in order.
func TestIntegrationProcessors(t *testing.T) {
	servers, cert := three(t, farm.NginxConfig{QuietLog: true}, farm.NewECDSA)
	for _, engine := range []string{"epoll", "io_uring"} {
		for _, procs := range []int{1, 2, 4} {
			for _, loops := range []string{"1", "2"} {
				t.Run(fmt.Sprintf("%s/GOMAXPROCS=%d/loops=%s", engine, procs, loops), func(t *testing.T) {
					l := newLineage(t, addrs(servers), "--loops", loops, "--engine", engine)
					l.env = []string{fmt.Sprintf("GOMAXPROCS=%d", procs)}
					l.start(t)
					l.probed(t, servers)
					closed := make(chan struct{})
					defer close(closed)
					go watchPage(l.admin, closed)
					clients := startLoad(t, l.addr, mixed(t, l.addr, cert)...)
					clients.more(t, 30)
					clients.forget()
					if _, err := asked(t, http.MethodPost, "http://"+l.admin+"/v1/reload"); err != nil {
						t.Fatal(err)
					}
					clients.more(t, 30)
					if said := l.upgrade(t); said != "" {
						t.Fatal(said)
					}
					clients.more(t, 30)
					clients.end(t)
				})
			}
		}
	}
}

// watchPage asks for what an open page asks for, as often, until it is closed.
func watchPage(admin string, closed <-chan struct{}) {
	client := &http.Client{Timeout: patience}
	for tick := time.NewTicker(time.Second); ; {
		for _, path := range []string{"/v1/status", "/v1/history"} {
			if resp, err := client.Get("http://" + admin + path); err == nil { // an upgrade may end it
				resp.Body.Close()
			}
		}
		select {
		case <-closed:
			tick.Stop()
			return
		case <-tick.C:
		}
	}
}

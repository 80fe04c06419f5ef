package balancers

import (
	"slices"
	"strings"
	"testing"
)

func keys(list []Balancer) string {
	var k []string
	for _, b := range list {
		k = append(k, b.Key)
	}
	return strings.Join(k, " ")
}

func TestSelect(t *testing.T) {
	for _, c := range []struct{ words, want string }{
		{"", keys(All())},
		{"nginx-hash direct", "direct nginx-hash"},
		{"homing", "homing homing-io_uring homing-epoll"},
		{"haproxy", "haproxy-rr haproxy-id haproxy-source"},
		{"haproxy-id haproxy", "haproxy-rr haproxy-id haproxy-source"},
	} {
		got, err := Select(strings.Fields(c.words))
		if err != nil || keys(got) != c.want {
			t.Errorf("%q selects %s, want %s: %v", c.words, keys(got), c.want, err)
		}
	}
	_, err := Select([]string{"direct", "traefik"})
	if err == nil || !strings.HasPrefix(err.Error(), `"traefik" is no balancer: take direct, homing, `) {
		t.Errorf("an unknown balancer: %v", err)
	}
}

// Keys are in files that people keep: they are never renamed.
func TestKeysDoNotChange(t *testing.T) {
	const want = "direct homing homing-io_uring homing-epoll haproxy-rr haproxy-id haproxy-source nginx-rr nginx-hash"
	if got := keys(All()); got != want {
		t.Errorf("keys %s, want %s", got, want)
	}
}

func TestChoose(t *testing.T) {
	all := All()
	full := &Kit{missing: map[string]string{}, engines: []string{"auto", "io_uring", "epoll"}}
	plain := &Kit{missing: map[string]string{}}
	bare := &Kit{missing: map[string]string{FamilyHAProxy: "haproxy is not installed", FamilyHoming: "homing is not"}, noStream: "no streams"}
	only := func(key string) []Balancer {
		return slices.DeleteFunc(All(), func(b Balancer) bool { return b.Key != key })
	}
	for _, c := range []struct {
		name    string
		kit     *Kit
		asked   []Balancer
		present string
		absent  string
	}{
		{"both engines", full, all, "direct homing-io_uring homing-epoll haproxy-rr haproxy-id haproxy-source nginx-rr nginx-hash", ""},
		{"no choice of engines", plain, all, "direct homing haproxy-rr haproxy-id haproxy-source nginx-rr nginx-hash", "homing-io_uring homing-epoll"},
		{"one engine", &Kit{engines: []string{"epoll"}}, only(FamilyHoming), "homing", ""},
		{"an engine that was asked for by name", plain, only(HomingEpoll), "", "homing-epoll"},
		{"nothing installed", bare, all, "direct", "homing haproxy nginx"},
	} {
		present, absent := c.kit.Choose(c.asked)
		var gone []string
		for _, a := range absent {
			gone = append(gone, a.Key)
			if a.Why == "" || a.Name == "" {
				t.Errorf("%s: %+v says nothing", c.name, a)
			}
		}
		if keys(present) != c.present || strings.Join(gone, " ") != c.absent {
			t.Errorf("%s: present %s, absent %s", c.name, keys(present), gone)
		}
	}
}

func TestEnginesOf(t *testing.T) {
	const help = "What goes where:\n  --loops number                  threads\n  --engine auto|io_uring|epoll    how to talk to the kernel (default auto)\n"
	if got := enginesOf(help); !slices.Equal(got, []string{"auto", "io_uring", "epoll"}) {
		t.Errorf("engines %q", got)
	}
	if got := enginesOf("  --loops number   threads; see --engine nothing\n"); got != nil {
		t.Errorf("engines %q of a homing that has none", got)
	}
}

func TestStreamModule(t *testing.T) {
	here := func(string) bool { return true }
	gone := func(string) bool { return false }
	for _, c := range []struct {
		build     string
		exists    func(string) bool
		path, why string
	}{
		{"configure arguments: --with-stream --with-stream_ssl_module", gone, "", ""},
		{"--modules-path=/opt/modules --with-stream=dynamic", here, "/opt/modules/ngx_stream_module.so", ""},
		{"--with-stream=dynamic", here, "/usr/lib/nginx/modules/ngx_stream_module.so", ""},
		{"--with-stream=dynamic", gone, "", "nginx has no /usr/lib/nginx/modules/ngx_stream_module.so: apt-get install libnginx-mod-stream"},
		{"--with-http_ssl_module --with-stream_ssl_module", here, "", "this nginx is built without streams (--with-stream)"},
	} {
		if path, why := streamModule(c.build, c.exists); path != c.path || why != c.why {
			t.Errorf("%s: %q, %q", c.build, path, why)
		}
	}
}

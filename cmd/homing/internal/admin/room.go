package admin

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
)

// Bounds of what is open and under way at once. Nobody waits for a place: a conn that asks for nothing gives way to one
// that comes, and a request beyond is refused, but for those that ask only whether the node lives (free).
const (
	// maxConns bounds the conns. It is above maxBusy and maxOpen together, so that there is always one that asks for
	// nothing.
	maxConns = 128

	// maxBusy bounds the requests that are being answered, of those who have shown who they are where that is asked.
	maxBusy = 64

	// maxOpen bounds those of anybody, such as of the page itself.
	maxOpen = 16
)

// roomy lets every conn in, and has one that asks for nothing give way when there are too many: first of those that
// have said nothing, then the oldest.
type roomy struct {
	net.Listener
	most int

	mu     sync.Mutex
	inside []*visit // guarded by mu, in the order they came
}

// visit is one conn.
type visit struct {
	net.Conn
	room *roomy

	// Atomic.
	spoke atomic.Bool
	asks  atomic.Int32 // requests that are being answered
}

// Accept implements net.Listener.
func (l *roomy) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	v := &visit{Conn: conn, room: l}
	l.mu.Lock()
	out := l.giveWay()
	l.inside = append(l.inside, v)
	l.mu.Unlock()
	if out != nil {
		out.Conn.Close()
	}
	return v, nil
}

// giveWay takes out a conn if there are too many. l.mu is held.
func (l *roomy) giveWay() *visit {
	if len(l.inside) < l.most {
		return nil
	}
	i := slices.IndexFunc(l.inside, func(v *visit) bool { return !v.spoke.Load() })
	if i < 0 {
		i = slices.IndexFunc(l.inside, func(v *visit) bool { return v.asks.Load() == 0 })
	}
	out := l.inside[max(i, 0)]
	l.inside = slices.Delete(l.inside, max(i, 0), max(i, 0)+1)
	return out
}

// Read implements net.Conn.
func (v *visit) Read(b []byte) (int, error) {
	n, err := v.Conn.Read(b)
	if n > 0 && !v.spoke.Load() {
		v.spoke.Store(true)
	}
	return n, err
}

// Close implements net.Conn.
func (v *visit) Close() error {
	l := v.room
	l.mu.Lock()
	if i := slices.Index(l.inside, v); i >= 0 {
		l.inside = slices.Delete(l.inside, i, i+1)
	}
	l.mu.Unlock()
	return v.Conn.Close()
}

// visitKey finds a request's conn in its context.
type visitKey struct{}

// withVisit is http.Server.ConnContext.
func withVisit(ctx context.Context, conn net.Conn) context.Context {
	if secured, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secured.NetConn()
	}
	return context.WithValue(ctx, visitKey{}, conn)
}

// places bounds the requests that are being answered.
type places struct{ busy, open chan struct{} }

func newPlaces() places {
	return places{make(chan struct{}, maxBusy), make(chan struct{}, maxOpen)}
}

// take begins to answer a request, and gives what ends that.
func (p *places) take(e *endpoint, r *http.Request) (leave func(), err error) {
	room := p.busy
	if e.open {
		room = p.open
	}
	if e.free {
		room = nil
	}
	if room != nil {
		select {
		case room <- struct{}{}:
		default:
			return nil, refusef(http.StatusServiceUnavailable,
				"%d requests are being answered already: ask again later", cap(room))
		}
	}
	v, _ := r.Context().Value(visitKey{}).(*visit) // a test may have none
	if v != nil {
		v.asks.Add(1)
	}
	return func() {
		if v != nil {
			v.asks.Add(-1)
		}
		if room != nil {
			<-room
		}
	}, nil
}

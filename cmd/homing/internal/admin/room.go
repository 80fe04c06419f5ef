package admin

import (
	"context"
	"net"
	"net/http"

	"homing/cluster/bound"
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

// roomy lets every conn in, and has one that asks for nothing give way when there are too many.
type roomy struct {
	net.Listener
	door bound.Door
}

// Accept implements net.Listener.
func (l *roomy) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.door.Enter(conn), nil
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
	v, _ := r.Context().Value(visitKey{}).(*bound.Guest) // a test may have none
	if v != nil {
		v.Asks.Add(1)
	}
	return func() {
		if v != nil {
			v.Asks.Add(-1)
		}
		if room != nil {
			<-room
		}
	}, nil
}

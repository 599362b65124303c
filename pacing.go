package sockopt

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/quic-go/quic-go/http3"
	"golang.org/x/time/rate"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// limit is what the requests of one connection under the same pacing_rate share.
type limit struct {
	*rate.Limiter
	part  int64 // the most that is written at once
	key   limitKey
	users int
}

type limitKey struct {
	conn           any
	bytesPerSecond int64
}

// limits are those of the connections that are paced.
var limits = limitTable{all: make(map[limitKey]*limit)}

type limitTable struct {
	mu  sync.Mutex
	all map[limitKey]*limit
}

// take returns the limit of a request's connection. A tenth of a second's bytes may go ahead
// of it.
func (t *limitTable) take(r *http.Request, bytesPerSecond int64) *limit {
	key := limitKey{connectionOf(r), bytesPerSecond}
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.all[key]
	if l == nil {
		burst := min(max(bytesPerSecond/10, 1), math.MaxInt32)
		l = &limit{Limiter: rate.NewLimiter(rate.Limit(bytesPerSecond), int(burst)), part: max(burst/2, 1), key: key}
		t.all[key] = l
	}
	l.users++
	return l
}

// leave gives a limit up. It stays for the connection's next request until it is like a new
// one. That takes longer where a request ended before its turn and others waited behind it:
// the Limiter does not take back what it had reserved.
func (t *limitTable) leave(l *limit) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.users--
	if l.users > 0 {
		return
	}
	seconds := (float64(l.Burst()) - l.Tokens()) / float64(l.Limit())
	time.AfterFunc(time.Duration(seconds*float64(time.Second))+time.Millisecond, func() { // later than any rounding
		t.mu.Lock()
		defer t.mu.Unlock()
		if l.users == 0 && l.Tokens() >= float64(l.Burst()) && t.all[l.key] == l {
			delete(t.all, l.key)
		}
	})
}

// connectionOf identifies the connection of a request. net/http and quic-go make the
// address once for each connection, and its requests have the same pointer. A request
// whose address is no pointer is a connection of its own.
func connectionOf(r *http.Request) any {
	addr := r.Context().Value(http3.RemoteAddrContextKey)
	if addr == nil {
		addr = r.Context().Value(http.LocalAddrContextKey)
	}
	if addr == nil || reflect.TypeOf(addr).Kind() != reflect.Pointer {
		return r
	}
	return addr
}

// heldAnyway is told that a connection refuses the kernel's rate: the limit holds without.
type heldAnyway struct{}

func (heldAnyway) Refused(net.Conn, socket.Option, error) {}

// checkPacing returns why the options that pace cannot do what they say. minRate is the
// server's write_min_rate, in bytes a second.
func (h *Handler) checkPacing(minRate int64) error {
	switch {
	case h.PacingRate == nil && h.PacingAfter != nil:
		return errors.New("pacing_after is what goes before pacing_rate holds; set pacing_rate beside it")
	case h.PacingRate != nil && minRate > int64(*h.PacingRate):
		return fmt.Errorf("pacing_rate %s is less than the write_min_rate of the server, %d bytes a second, so Caddy would end the responses; "+
			"make one larger or the other smaller", h.PacingRate, minRate)
	}
	return nil
}

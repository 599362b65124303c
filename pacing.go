package sockopt

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"runtime"
	"sync"
	"weak"

	"github.com/quic-go/quic-go/http3"
	"golang.org/x/time/rate"

	"github.com/caddy-sockopt/caddy-sockopt/internal/connection"
)

// newLimit returns what the requests of one connection under the same pacing_rate share. It lets a
// tenth of a second's bytes go ahead of it.
func newLimit(bytesPerSecond int64) *rate.Limiter {
	return rate.NewLimiter(rate.Limit(bytesPerSecond), int(min(max(bytesPerSecond/10, 1), math.MaxInt32)))
}

// limits are those of connections that have no connection.Served, for as long as they exist.
var limits sync.Map // *rate.Limiter by limitKey

type limitKey struct {
	addr           any // a weak pointer
	bytesPerSecond int64
}

// limitOf returns the limit of a request's connection. Where it has no connection.Served, over HTTP/3 or a Unix
// socket, its address stands for it: net/http and quic-go make it once for each connection, and its requests have the
// same pointer. A request whose address is no such pointer is a connection of its own.
func limitOf(r *http.Request, bytesPerSecond int64) *rate.Limiter {
	if served, ok := connection.ServedBy(r); ok {
		return served.Limit(bytesPerSecond, newLimit)
	}
	switch addr := cmp.Or(r.Context().Value(http3.RemoteAddrContextKey), r.Context().Value(http.LocalAddrContextKey)).(type) {
	case *net.TCPAddr:
		return limitAt(addr, bytesPerSecond)
	case *net.UDPAddr:
		return limitAt(addr, bytesPerSecond)
	case *net.UnixAddr:
		return limitAt(addr, bytesPerSecond)
	}
	return newLimit(bytesPerSecond)
}

func limitAt[A any](addr *A, bytesPerSecond int64) *rate.Limiter {
	var key any = limitKey{weak.Make(addr), bytesPerSecond}
	limit, known := limits.Load(key)
	if !known {
		limit, known = limits.LoadOrStore(key, newLimit(bytesPerSecond))
	}
	if !known {
		runtime.AddCleanup(addr, limits.Delete, key)
	}
	return limit.(*rate.Limiter) //nolint:forcetypeassert // there is nothing else in it
}

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

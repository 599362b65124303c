package sockopt

import (
	"context"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-sockopt/caddy-sockopt/internal/stats"
)

// mostUpstreams bounds the series of a transport: it counts connections to further
// addresses, which dynamic upstreams and placeholders can have, as those to other.
const mostUpstreams = 100

// upstreams are what counts the connections of a transport, by backend.
type upstreams struct {
	sync.Mutex
	of map[string]*stats.Observer
}

// observer returns what counts the connections to a backend.
func (t *Transport) observer(upstream string) *stats.Observer {
	upstream = strings.ToValidUTF8(upstream, "\ufffd") // a label that is not makes the whole scrape an error
	t.upstreams.Lock()
	defer t.upstreams.Unlock()
	of := t.upstreams.of
	if of[upstream] == nil && len(of) >= mostUpstreams {
		upstream = "other"
	}
	if of[upstream] == nil {
		of[upstream] = t.server.show(stats.Origin{Direction: stats.Dialed, Upstream: upstream}, &t.resolved, t, t.log.With(zap.String("upstream", upstream))).observer
	}
	return of[upstream]
}

// destination returns what to dial for a request, and its backend as metrics of
// reverse_proxy name it: an address that depends on the request stands for itself. The
// transport's address is the upstream's, save where the context has another one: that of a
// Unix socket, and of an upstream whose URL also has the client. Behind a forward proxy it
// is the proxy's.
func destination(ctx context.Context, network, address string) (string, string, string) {
	info, ok := reverseproxy.GetDialInfo(ctx)
	switch {
	case !ok || caddyhttp.GetVar(ctx, proxyVar) != nil && !strings.HasPrefix(info.Network, "unix"):
		return network, address, address
	case info.Upstream == nil || strings.Contains(info.Upstream.Dial, "{"):
		return info.Network, info.Address, info.Address
	}
	return info.Network, info.Address, info.Upstream.Dial
}

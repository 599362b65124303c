package sockopt

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/internal/connection"
	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// TCPInfo makes placeholders of what the kernel measures of the client's connection, as getsockopt(2) returns it for
// TCP_INFO. They can be used after this handler: in logs, headers, and matchers.
//
// Placeholder | Meaning ------------|--------------- `{http.tcp_info.rtt}` | Smoothed round-trip time, in seconds
// `{http.tcp_info.rttvar}` | Its mean deviation, in seconds `{http.tcp_info.min_rtt}` | Smallest round-trip time of
// the last minutes (tcp_min_rtt_wlen), in seconds `{http.tcp_info.snd_cwnd}` | Congestion window, in segments
// `{http.tcp_info.snd_ssthresh}` | Slow-start threshold, in segments; 2147483647 before the first loss
// `{http.tcp_info.rcv_space}` | What the receive buffer is tuned to, in bytes `{http.tcp_info.unacked}` | Segments
// sent and not yet acknowledged `{http.tcp_info.lost}` | Segments that are presumed lost `{http.tcp_info.retrans}` |
// Segments sent again and not yet acknowledged `{http.tcp_info.total_retrans}` | Segments sent again since the
// connection began `{http.tcp_info.reordering}` | Segments that may arrive out of order before one is presumed lost
// `{http.tcp_info.delivery_rate}` | Latest rate at which bytes arrived, in bytes a second
// `{http.tcp_info.pacing_rate}` | Rate at which bytes are sent, in bytes a second `{http.tcp_info.bytes_acked}` |
// Bytes that the client has acknowledged `{http.tcp_info.bytes_received}` | Bytes that the client has sent
// `{http.tcp_info.notsent_bytes}` | Bytes that wait to be sent `{http.tcp_info.busy_time}` | Time with something to
// send, in seconds `{http.tcp_info.rwnd_limited}` | Of it, time that the client's receive window held it up, in
// seconds `{http.tcp_info.sndbuf_limited}` | Of it, time that the send buffer held it up, in seconds
// `{http.tcp_info.advmss}`, `snd_mss`, `rcv_mss` | Segment sizes: offered, sent, received, in bytes
// `{http.tcp_info.pmtu}` | MTU of the path, in bytes `{http.tcp_info.rto}`, `ato` | Time before a retransmission and
// of a delayed acknowledgement, in seconds `{http.tcp_info.snd_wnd}`, `rcv_wnd` | Windows: the client's and ours, in
// bytes `{http.tcp_info.delivered_ce}`, `received_ce` | Segments that were marked by ECN, sent and received
// `{http.tcp_info.delivered_e1_bytes}` and so on | What AccECN counts (e1, e0, ce; delivered, received), in bytes
// `{http.tcp_info.congestion}` | Congestion control algorithm (TCP_CONGESTION)
//
// With save_syn on in the listener wrapper, these are of the client's SYN:
//
// Placeholder | Meaning ------------|--------------- `{http.tcp_info.syn.ttl}` | Its time to live, or hop limit, as
// it arrived `{http.tcp_info.syn.window}` | The window that it offers, in bytes, not scaled `{http.tcp_info.syn.mss}`
// | The largest segment that the client takes, in bytes `{http.tcp_info.syn.scale}` | By how many bits the client
// shifts its windows `{http.tcp_info.syn.options}` | The kinds of its TCP options in their order, such as `2-4-8-1-3`
//
// The kernel is asked once for a request, when the first of them is used, and not at all where none is; congestion
// takes a getsockopt(2) of its own. A field that this kernel does not return, or has not measured yet, is null: empty
// in text. So are all of them over HTTP/3 and Unix sockets. The first use of a name that is not among them is logged
// as a warning.
//
// The sockopt transport makes the same placeholders of the connection to the backend that carried the request last,
// without this handler: `{http.reverse_proxy.upstream.tcp_info.rtt}` and so on. They are empty once that connection
// is closed.
//
// JSON:
//
//	{"handler": "tcp_info"}
//
// Caddyfile, in a site block:
//
//	tcp_info
type TCPInfo struct {
	placeholders *placeholders
}

// CaddyModule returns the Caddy module information.
func (TCPInfo) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.tcp_info", New: func() caddy.Module { return new(TCPInfo) }}
}

// Provision makes the server give its requests their connection.
func (t *TCPInfo) Provision(ctx caddy.Context) error {
	server, log := serverOf(ctx)
	server.showConnections()
	t.placeholders = &placeholders{"http.tcp_info.", log}
	return nil
}

// ServeHTTP has the next handler serve the request with the placeholders.
func (t *TCPInfo) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		asked := &askedInfo{placeholders: t.placeholders}
		if conn, ok := connection.ServedBy(r); ok {
			asked.tcp, asked.syn = conn.TCP, conn.SYN
		}
		repl.Map(asked.placeholder)
	}
	return next.ServeHTTP(w, r)
}

// placeholders are those of one module.
type placeholders struct {
	prefix string // what they begin with
	log    *zap.Logger
}

// askedInfo is what the kernel says of a request's connection, once it is asked.
type askedInfo struct {
	*placeholders
	tcp syscall.Conn // nil where there is none
	syn func() *socket.SYN

	info       sync.Once
	figures    *socket.TCPInfo
	name       sync.Once
	congestion any // nil where it is not known
}

// placeholder is a caddy.ReplacerFunc. Its numbers are numbers, so that an expression can compare them.
func (a *askedInfo) placeholder(key string) (any, bool) {
	name, ok := strings.CutPrefix(key, a.prefix)
	if !ok {
		return nil, false
	}
	if name == "congestion" {
		return a.algorithm(), true
	}
	if field := fieldsOfSYN[name]; field != nil {
		if a.syn != nil {
			if syn := a.syn(); syn != nil && field(syn) != -1 {
				return field(syn), true
			}
		}
		return nil, true
	}
	for _, f := range socket.Figures {
		if f.Name == name {
			return a.figure(f), true
		}
	}
	a.warnOf(key)
	return nil, false
}

// fieldsOfSYN are the placeholders of the client's SYN. -1 is not known.
var fieldsOfSYN = map[string]func(*socket.SYN) any{
	"syn.ttl":     func(s *socket.SYN) any { return s.TTL },
	"syn.window":  func(s *socket.SYN) any { return s.Window },
	"syn.mss":     func(s *socket.SYN) any { return s.MSS },
	"syn.scale":   func(s *socket.SYN) any { return s.Scale },
	"syn.options": func(s *socket.SYN) any { return s.Options },
}

// misspelt has the placeholders that were warned of, of which a client may name any number:
// a template may have what it sent.
var misspelt struct {
	sync.Mutex
	keys []string
}

const (
	mostMisspelt    = 20  // placeholders that are warned of
	longestMisspelt = 100 // bytes of one in the log
)

// warnOf warns once of a placeholder that does not exist: Caddy leaves it empty, or as it was written, without a word.
func (p *placeholders) warnOf(key string) {
	key = strings.Clone(key[:min(len(key), longestMisspelt)])
	misspelt.Lock()
	defer misspelt.Unlock()
	if len(misspelt.keys) == mostMisspelt || slices.Contains(misspelt.keys, key) {
		return
	}
	misspelt.keys = append(misspelt.keys, key)
	p.log.Warn("unknown placeholder; the names are in the documentation of tcp_info", zap.String("placeholder", "{"+key+"}"))
}

// algorithm returns the name of the congestion control algorithm, or nil.
func (a *askedInfo) algorithm() any {
	a.name.Do(func() {
		if a.tcp == nil {
			return
		}
		if value, err := socket.Get(a.tcp, socket.Congestion); err == nil {
			a.congestion = value.Text
		}
	})
	return a.congestion
}

// figure returns a figure as a placeholder has it, or nil where it is not known.
func (a *askedInfo) figure(f socket.Figure) any {
	value, known := a.value(f)
	switch {
	case !known:
		return nil
	case f.Unit == socket.Microseconds:
		return float64(value) / 1e6
	}
	return value
}

// value returns a figure as the kernel counts it.
func (a *askedInfo) value(f socket.Figure) (value int64, known bool) {
	a.info.Do(func() {
		if a.tcp == nil {
			return
		}
		if figures, err := socket.Info(a.tcp); err == nil {
			a.figures = figures
		}
	})
	if a.figures == nil {
		return 0, false
	}
	return a.figures.Value(f)
}

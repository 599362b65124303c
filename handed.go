package sockopt

import (
	"encoding/json"
	"net"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// giver is who sets an option on accepted connections before the wrapper does,
// and to one value on all that a listener accepts.
type giver uint8

const (
	nobody     giver = iota // or routes, sysctls and clients have a say in it
	byGo                    // as the server configures its listeners
	byListener              // the kernel, which copies it from a listening socket without MPTCP
	byEither                // Go, unless the server tells it not to, and then the kernel, from any listening socket
)

// handed are the settings of the accept phase for one listener. It learns from
// a connection which of them connections come with, and leaves those out: a
// system call less for each.
type handed struct {
	all  []socket.Setting
	left atomic.Pointer[[]socket.Setting] // nil while not learned

	given []socket.Setting // those of all that connections may come with
	early atomic.Int64     // connections to come that may be older than what the listening socket is set to
	tries atomic.Int64     // connections to come that it may learn from
}

const (
	// inTheMaking is how many connections the kernel may be making from a
	// listening socket at one moment: one on each processor.
	inTheMaking = 256

	// triesToLearn bounds the search for a connection to learn from.
	triesToLearn = 64
)

// hand sets the listening socket to the settings of the accept phase that
// accepted connections copy from it, and returns what is left to be set on them.
//
// Of an MPTCP socket those connections that turn out to be plain TCP, as most do,
// copy from a socket below it, which most options do not reach: beside keepalive
// only those of its own listen phase. One that is shared it leaves as it is: of it
// nothing but what Go sets can be left out.
func (w *ListenerWrapper) hand(tcp *net.TCPListener) *handed {
	h := &handed{all: w.settings.of[accept]}
	h.tries.Store(triesToLearn)
	shared, multipath := w.sharesListeners(), socket.SpeaksMPTCP(tcp)
	var copied []socket.Setting
	for _, s := range h.all {
		switch r := rowOf(s.Option); {
		case r.given == byGo, r.given == byEither && shared:
			h.given = append(h.given, s)
		case r.given == nobody || shared:
		case r.phases&listen != 0:
			h.given = append(h.given, s)
		case r.given == byEither || !multipath:
			copied = append(copied, s)
		}
	}
	// What it refuses, its connections turn out not to have.
	_, err := socket.Set(tcp, copied)
	queued, infoErr := socket.Queued(tcp)
	if err != nil || infoErr != nil {
		return &handed{all: h.all}
	}
	h.given = append(h.given, copied...)
	h.early.Store(int64(queued) + inTheMaking)
	return h
}

// tellGo has Go set what it sets on each connection anyway to what the wrapper would
// set: a system call less for each. What connections copy from the listening socket it
// has Go leave alone, which is one less each than without the wrapper. Of a server whose
// keepalive_interval is negative Go hears nothing but that, and sets its own defaults.
func (w *ListenerWrapper) tellGo() {
	if w.server == nil || w.server.KeepAliveInterval < 0 {
		return
	}
	copied := w.isFirst() && !w.sharesListeners()
	for _, s := range w.settings.of[accept] {
		r := rowOf(s.Option)
		switch {
		case r.onServer == nil:
		case r.given == byEither && copied:
			r.onServer(w.server, socket.Value{Number: -1}) // net.KeepAliveConfig: unchanged
		default:
			r.onServer(w.server, s.Value)
		}
	}
}

// isFirst reports whether the server's listeners come to the wrapper as Caddy opened
// them. Another wrapper may hide the socket, or serve connections itself.
func (w *ListenerWrapper) isFirst() bool {
	var first struct {
		Wrapper string `json:"wrapper"`
	}
	all := w.server.ListenerWrappersRaw
	return len(all) > 0 && json.Unmarshal(all[0], &first) == nil && first.Wrapper == w.CaddyModule().ID.Name()
}

// sharesListeners reports whether connections may come from a listening socket that
// another configuration has set, or sets next: one that the server inherited, or any to
// whose queue the kernel moves connections from another's. Of what is no HTTP server
// nobody knows; on systems other than Linux a listening socket is left as it is.
func (w *ListenerWrapper) sharesListeners() bool {
	if w.server == nil || runtime.GOOS != "linux" || !slices.Contains([]string{"", "0"}, sysctl("net.ipv4.tcp_migrate_req")) {
		return true
	}
	return slices.ContainsFunc(w.server.Listen, func(address string) bool {
		parsed, err := caddy.ParseNetworkAddressWithDefaults(address, "tcp", caddyhttp.DefaultHTTPPort)
		return err != nil || parsed.IsFdNetwork()
	})
}

// settings returns what is to be set on conn, which has just been accepted.
func (h *handed) settings(conn net.Conn) []socket.Setting {
	if left := h.left.Load(); left != nil {
		return *left
	}
	if len(h.given) == 0 || h.early.Add(-1) >= 0 || h.tries.Add(-1) < 0 {
		return h.all
	}
	h.learn(conn)
	return h.all
}

// learn learns from a plain TCP connection what later ones come with. A
// connection that speaks MPTCP refuses some of it, and tells less.
func (h *handed) learn(conn net.Conn) {
	tcp, ok := socket.TCPConn(conn)
	if !ok || socket.SpeaksMPTCP(tcp) {
		return
	}
	lacking, err := socket.Lacking(tcp, h.given)
	if err != nil {
		return
	}
	left := slices.DeleteFunc(slices.Clone(h.all), func(s socket.Setting) bool {
		return includes(h.given, s.Option) && !includes(lacking, s.Option)
	})
	h.left.Store(&left)
}

// includes reports whether one of settings is of the option.
func includes(settings []socket.Setting, o socket.Option) bool {
	return slices.ContainsFunc(settings, func(s socket.Setting) bool { return s.Option.Is(o) })
}

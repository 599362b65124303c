package sockopt

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// uncovered is a server or a reverse_proxy without options of ours, as GET /sockopt/ shows it.
type uncovered struct {
	Lacks    string `json:"lacks"` // listener_wrappers, packet_conn_wrappers, or transport
	Server   string `json:"server"`
	Address  string `json:"address"`
	Upstream string `json:"upstream,omitempty"` // the backends of a reverse_proxy
	Trap     string `json:"trap,omitempty"`     // why it lacks them probably by mistake
	Fix      string `json:"fix"`                // what to write into a Caddyfile
}

// coverage is what a configuration gives options, and what not.
type coverage struct {
	with, without map[string][]string // names by what they have or lack
	uncovered     []uncovered
	positions     map[any]string // of our modules
}

// logger is the name of a logger that is no module's.
type logger caddy.ModuleID

// CaddyModule names the logger.
func (l logger) CaddyModule() caddy.ModuleInfo { return caddy.ModuleInfo{ID: caddy.ModuleID(l)} }

// cover finds out what the configuration covers, and says so.
func (c *configuration) cover(log *zap.Logger) {
	v := c.covers()
	if len(v.with) > 0 || c.used.Load() {
		c.used.Store(true)
		v.log(log)
	}
	configurations.Lock()
	defer configurations.Unlock()
	c.uncovered, c.positions = v.uncovered, v.positions
}

// covers looks at the servers of the HTTP app, and at what their JSON has beside ofSites.
func (c *configuration) covers() (v coverage) {
	v = coverage{make(map[string][]string), make(map[string][]string), []uncovered{}, make(map[any]string)}
	for _, name := range slices.Sorted(maps.Keys(c.http.Servers)) {
		s := c.server(c.http.Servers[name])
		if name == redirectsServer || s.tcpAddresses() == nil {
			continue
		}
		if slices.ContainsFunc(s.opens(), func(o opening) bool { return o.transport == "tcp" }) {
			v.addServer(s.wraps || s.listensOn(bareNetwork), s, "listener_wrappers", "sockopt")
		}
		if len(s.quicPlaces()) > 0 {
			v.addServer(s.wrapsPackets, s, "packet_conn_wrappers", "sockopt { … }")
		}
		path := "/config/apps/http/servers/" + s.Name()
		v.addRoutes(s, path+"/routes", s.Routes)
		for name, route := range s.NamedRoutes {
			v.addRoute(s, path+"/named_routes/"+name, route)
		}
		if s.Errors != nil {
			v.addRoutes(s, path+"/errors/routes", s.Errors.Routes)
		}
	}
	v.findTraps(c.raw)
	return v
}

// redirectsServer is the server that Caddy makes for its redirects to HTTPS (autohttps.go):
// no block of a Caddyfile applies to it, and it needs no options.
const redirectsServer = "remaining_auto_https_redirects"

// tcpAddresses returns what the server listens at, without Unix sockets.
func (s *server) tcpAddresses() (addresses []string) {
	for _, listen := range s.Listen {
		if a, err := caddy.ParseNetworkAddress(listen); err == nil && !a.IsUnixNetwork() {
			addresses = append(addresses, listen)
		}
	}
	return addresses
}

// add adds what has options or not.
func (v *coverage) add(has bool, u uncovered) {
	name := u.Server
	if u.Upstream != "" {
		name += " to " + u.Upstream
	}
	if has {
		v.with[u.Lacks] = append(v.with[u.Lacks], name)
		return
	}
	v.without[u.Lacks] = append(v.without[u.Lacks], name)
	v.uncovered = append(v.uncovered, u)
}

// addServer adds a server with or without wrappers of one kind.
func (v *coverage) addServer(has bool, s *server, lacks, block string) {
	addresses := s.tcpAddresses()
	fix := fmt.Sprintf("servers %s { %s { %s } }", addresses[0], lacks, block)
	v.add(has, uncovered{Lacks: lacks, Server: s.Name(), Address: strings.Join(addresses, ", "), Fix: fix})
}

func (v *coverage) addRoutes(s *server, path string, routes caddyhttp.RouteList) {
	for i := range routes {
		v.addRoute(s, fmt.Sprint(path, "/", i), &routes[i])
	}
}

// addRoute adds the positions of our modules, and the reverse_proxy handlers that use Caddy's http transport or ours.
func (v *coverage) addRoute(s *server, path string, route *caddyhttp.Route) {
	for i, handler := range route.Handlers {
		path := fmt.Sprint(path, "/handle/", i)
		switch h := handler.(type) {
		case *Handler:
			v.positions[h] = path
		case *caddyhttp.Subroute:
			v.addRoutes(s, path+"/routes", h.Routes)
			if h.Errors != nil {
				v.addRoutes(s, path+"/errors/routes", h.Errors.Routes)
			}
		case *reverseproxy.Handler:
			t, ours := h.Transport.(*Transport)
			if ours {
				v.positions[t] = path + "/transport"
			}
			if _, stock := h.Transport.(*reverseproxy.HTTPTransport); ours || stock {
				v.add(ours, uncovered{
					Lacks: "transport", Server: s.Name(), Address: strings.Join(s.tcpAddresses(), ", "),
					Upstream: cmp.Or(brief(backendsOf(h)), "dynamic upstreams"), Fix: "reverse_proxy … { transport sockopt }",
				})
			}
			for k, response := range h.HandleResponse {
				v.addRoutes(s, fmt.Sprint(path, "/handle_response/", k, "/routes"), response.Routes)
			}
		}
	}
}

// ofSites are the keys of a server that a Caddyfile's sites write. Its others are from a
// block servers in the global options, of which a server has one.
var ofSites = []string{"listen", "listen_protocols", "routes", "named_routes", "errors", "tls_connection_policies", "automatic_https", "logs"}

// findTraps finds servers that lack the wrapper which others have, probably by mistake.
func (v *coverage) findTraps(raw map[string]map[string]json.RawMessage) {
	wrapped := v.with["listener_wrappers"]
	if len(wrapped) == 0 {
		return
	}
	block := func(server string) (text string) {
		for _, key := range slices.Sorted(maps.Keys(raw[server])) {
			text += key + string(raw[server][key])
		}
		return text
	}
	isListener := func(u uncovered) bool { return u.Lacks == "listener_wrappers" }
	// A block without an address would be that of all servers with the wrapper, and of all
	// that have no block of their own.
	forAll := !slices.ContainsFunc(v.uncovered, func(u uncovered) bool { return isListener(u) && block(u.Server) == "" }) &&
		!slices.ContainsFunc(wrapped, func(server string) bool { return block(server) != block(wrapped[0]) })
	for i := range v.uncovered {
		u := &v.uncovered[i]
		first, _, _ := strings.Cut(u.Address, ", ")
		address, _ := caddy.ParseNetworkAddress(first) // Caddy has read it already
		switch {
		case !isListener(*u):
		case block(u.Server) == "" && address.Host != "":
			u.Trap = "a block servers with a port alone does not match a site that has bind"
		case block(u.Server) != "" && forAll:
			u.Trap = "its own block servers replaces the one without an address"
		}
	}
}

// log logs one line, and warns of traps.
func (v *coverage) log(log *zap.Logger) {
	servers, addresses := make([]string, len(v.uncovered)), make([]string, len(v.uncovered))
	for i, u := range v.uncovered {
		servers[i], addresses[i] = u.Server, u.Address
	}
	fields := append(make([]zap.Field, 0, 8),
		zap.String("server", brief(slices.Compact(servers))), zap.String("address", brief(slices.Compact(addresses))))
	for _, part := range [][2]string{{"listeners", "listener_wrappers"}, {"packets", "packet_conn_wrappers"}, {"transports", "transport"}} {
		fields = append(fields, zap.String(part[0], brief(v.with[part[1]])), zap.String(part[0]+"_without", brief(v.without[part[1]])))
	}
	log.Info("what sockopt covers, and what it does not", fields...)
	warned := 0
	for _, u := range v.uncovered {
		if u.Trap != "" && warned < 10 { // GET /sockopt/ has them all
			warned++
			log.Warn("a server has no listener wrapper sockopt, and others have: "+u.Trap+"; add "+u.Fix,
				zap.String("server", u.Server), zap.String("address", u.Address))
		}
	}
}

// uncoveredNow returns what the active configuration leaves uncovered.
func uncoveredNow() []uncovered {
	configurations.Lock()
	defer configurations.Unlock()
	if i := slices.IndexFunc(configurations.all, (*configuration).isActive); i >= 0 && configurations.all[i].used.Load() {
		return configurations.all[i].uncovered
	}
	return []uncovered{}
}

// brief lists names in about 200 bytes.
func brief(names []string) string {
	var b strings.Builder
	for i, name := range names {
		if b.Len()+len(name) > 200 {
			return fmt.Sprintf("%s … and %d more", b.String(), len(names)-i)
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(name)
	}
	return b.String()
}

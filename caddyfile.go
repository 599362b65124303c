package sockopt

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// UnmarshalCaddyfile sets the wrapper up from its options, each at most once:
//
//	sockopt {
//		<option> <value>
//	}
//
// Errors give the file, the line, the option, and what would have been right.
func (w *ListenerWrapper) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return parseOptions(d, w.Lines(options.Listen|options.Accept))
}

// UnmarshalCaddyfile sets the wrapper up from its options, each at most once.
func (w *PacketConnWrapper) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return parseOptions(d, w.Lines(options.Packet))
}

// parseOptions reads the options after a name.
func parseOptions(d *caddyfile.Dispenser, lines []options.Line) error {
	d.Next() // consume the name
	if d.NextArg() {
		return d.Errf("sockopt takes no argument, but options in a block, one a line; %q is too many", d.Val())
	}
	return options.ParseBlock(d, lines)
}

// UnmarshalCaddyfile sets the transport up like Caddy's http transport, and from its options:
//
//	transport sockopt {
//		<all that transport http takes>
//		socket {
//			<option> <value>
//		}
//	}
func (t *Transport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the transport's name
	opening := d.Token()
	opening.Text = "{"
	ours, theirs := false, []caddyfile.Token{d.Token(), opening}
	if d.NextArg() {
		return d.Errf("transport sockopt takes no argument, but a block; %q is too many", d.Val())
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if d.Val() != "socket" {
			if isSocketOption(d.Val()) {
				return d.Errf("%s is a socket option: write it into a block, socket { %[1]s … }", d.Val())
			}
			theirs = append(theirs, d.NextSegment()...)
			continue
		}
		if ours {
			return d.Err("socket is set twice; leave one of them out")
		}
		ours = true
		if d.NextArg() {
			return d.Errf("socket takes no argument, but options in a block, one a line; %q is too many", d.Val())
		}
		if err := options.ParseBlock(d, t.Socket.Lines(options.Dial)); err != nil {
			return err
		}
	}
	closing := d.Token() // it is, if there is a block
	closing.Text = "}"
	return t.HTTPTransport.UnmarshalCaddyfile(caddyfile.NewDispenser(append(theirs, closing)))
}

// parseGlobalOption says where the wrapper goes, of which many think first as a global option.
func parseGlobalOption(d *caddyfile.Dispenser, _ any) (any, error) {
	d.Next()
	return nil, d.Err("sockopt is no global option: for all connections of a server write servers { listener_wrappers { sockopt } }, " +
		"for backends transport sockopt in reverse_proxy, for one route sockopt in the site")
}

// isSocketOption reports whether a name is a socket option and no option of Caddy's http transport.
func isSocketOption(name string) bool {
	return options.Has(name) && name != "keepalive" && name != "keepalive_interval"
}

// parseDirective makes a handler of its directive.
func parseDirective[H any, P interface {
	*H
	caddyhttp.MiddlewareHandler
	caddyfile.Unmarshaler
}](h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := P(new(H))
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets the handler up from its options, each at most once:
//
//	sockopt [<matcher>] {
//		<option> <value>
//	}
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return parseOptions(d, h.Lines(options.Route))
}

// UnmarshalCaddyfile takes the directive's name alone, and Caddy a matcher.
func (*TCPInfo) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the directive's name
	if d.NextArg() || d.NextBlock(0) {
		return d.Errf("tcp_info takes nothing but a matcher; %q is too many", d.Val())
	}
	return nil
}

// UnmarshalCaddyfile sets the handler up from its directive. Every line may be left out:
//
//	echo_payload [<matcher>] [<size>] {
//		size          <size>
//		fill          <character>
//		content_type  <type>
//		write_size    <size>
//		flush_headers
//	}
func (e *EchoPayload) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the directive's name
	size := options.SizeLine("size", &e.Size, nil)
	if d.NextArg() {
		if err := size.Parse([]string{d.Val()}); err != nil {
			return d.Errf("echo_payload: %v", err)
		}
	}
	if d.NextArg() {
		return d.Errf("echo_payload takes one value, %s; %q is too many", size.Want, d.Val())
	}
	text := func(name, want string, to *string, check func(string) error) options.Line {
		return options.Line{Name: name, Want: want, Values: 1, IsSet: func() bool { return *to != "" }, Parse: func(values []string) error {
			*to = values[0]
			return check(*to)
		}}
	}
	return options.ParseBlock(d, []options.Line{
		size,
		text("fill", "one ASCII character", &e.Fill, checkFill),
		text("content_type", wantContentType, &e.ContentType, checkContentType),
		options.SizeLine("write_size", &e.WriteSize, checkWriteSize),
		{Name: "flush_headers", IsSet: func() bool { return e.FlushHeaders }, Parse: func([]string) error {
			e.FlushHeaders = true
			return nil
		}},
	})
}

package sockopt

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// UnmarshalCaddyfile sets the wrapper up from its options, each at most once:
//
//	sockopt {
//		<option> <value>
//	}
//
// Errors name the file, the line, the option, and what would have been right.
func (w *ListenerWrapper) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return parseOptions(d, w.lines(listen|accept))
}

// parseOptions reads the options after a name.
func parseOptions(d *caddyfile.Dispenser, lines []line) error {
	d.Next() // consume the name
	if d.NextArg() {
		return d.Errf("sockopt takes no argument, but options in a block, one a line; %q is too many", d.Val())
	}
	return parseBlock(d, lines)
}

// lines are the options of phases as lines of a block.
func (o *Options) lines(phases phase) []line {
	lines := make([]line, 0, len(rows))
	for _, r := range rows {
		lines = append(lines, line{
			name:    r.name,
			barred:  r.barred(phases),
			want:    r.want(),
			values:  r.values(),
			repeats: r.repeats(),
			isSet:   func() bool { return r.isSet(o) },
			parse:   func(values []string) error { return r.parse(o, values) },
		})
	}
	return lines
}

// UnmarshalCaddyfile sets the transport up like Caddy's http transport, and from
// its options:
//
//	transport sockopt {
//		<all that transport http takes>
//		socket {
//			<option> <value>
//		}
//	}
func (t *Transport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the transport's name
	ours, theirs := false, []caddyfile.Token{d.Token()}
	if d.NextArg() {
		return d.Errf("transport sockopt takes no argument, but a block; %q is too many", d.Val())
	}
	opened := false
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if !opened {
			d.Prev()
			theirs = append(theirs, d.Token()) // the brace that NextBlock consumed
			d.Next()
			opened = true
		}
		if d.Val() != "socket" {
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
		if err := parseBlock(d, t.Socket.lines(dial)); err != nil {
			return err
		}
	}
	if opened {
		theirs = append(theirs, d.Token()) // the closing brace
	}
	return t.HTTPTransport.UnmarshalCaddyfile(caddyfile.NewDispenser(theirs))
}

// parseHandler sets the handler up from its directive:
//
//	sockopt [<matcher>] {
//		<option> <value>
//	}
func parseHandler(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets the handler up from its options, each at most once.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return parseOptions(d, h.lines(route))
}

// parseTCPInfo sets the handler up from its directive, which is one word and
// perhaps a matcher.
func parseTCPInfo(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	info := new(TCPInfo)
	return info, info.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile takes the directive's name alone.
func (*TCPInfo) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the directive's name
	if d.NextArg() || d.NextBlock(0) {
		return d.Errf("tcp_info takes nothing but a matcher; %q is too many", d.Val())
	}
	return nil
}

// parseEchoPayload sets the handler up from its directive.
func parseEchoPayload(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	e := new(EchoPayload)
	return e, e.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets the handler up from its directive. Every line may be
// left out:
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
	size := sizeLine("size", &e.Size, nil)
	if d.NextArg() {
		if err := size.parse([]string{d.Val()}); err != nil {
			return d.Errf("echo_payload: %v", err)
		}
	}
	if d.NextArg() {
		return d.Errf("echo_payload takes one value, %s; %q is too many", wantSize, d.Val())
	}
	return parseBlock(d, []line{
		size,
		{
			name:   "fill",
			want:   "one ASCII character",
			values: 1,
			isSet:  func() bool { return e.Fill != "" },
			parse: func(values []string) error {
				e.Fill = values[0]
				return checkFill(e.Fill)
			},
		},
		{
			name:   "content_type",
			want:   wantContentType,
			values: 1,
			isSet:  func() bool { return e.ContentType != "" },
			parse: func(values []string) error {
				e.ContentType = values[0]
				return checkContentType(e.ContentType)
			},
		},
		sizeLine("write_size", &e.WriteSize, checkWriteSize),
		{
			name:  "flush_headers",
			isSet: func() bool { return e.FlushHeaders },
			parse: func([]string) error {
				e.FlushHeaders = true
				return nil
			},
		},
	})
}

func sizeLine(name string, place **Size, check func(Size) error) line {
	return line{
		name:   name,
		want:   wantSize,
		values: 1,
		isSet:  func() bool { return *place != nil },
		parse: func(values []string) error {
			size, err := ParseSize(values[0])
			if err == nil && check != nil {
				err = check(size)
			}
			*place = &size
			return err
		},
	}
}

// line is one line that a block may hold: a name and its values.
type line struct {
	name    string
	barred  string // why it may not stand here, though it may elsewhere
	want    string // what the values look like
	values  int    // how many there are
	repeats bool   // whether the line may stand more than once
	isSet   func() bool
	parse   func(values []string) error
}

// parseBlock reads a block of lines.
func parseBlock(d *caddyfile.Dispenser, lines []line) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := parseLine(d, lines); err != nil {
			return err
		}
	}
	return nil
}

func parseLine(d *caddyfile.Dispenser, lines []line) error {
	name := d.Val()
	l, ok := find(lines, name)
	if !ok {
		return d.Errf("unknown option %q; here it can be %s", name, lineNames(lines))
	}
	if l.barred != "" {
		return d.Errf("%s %s; here it can be %s", name, l.barred, lineNames(lines))
	}
	if l.isSet() && !l.repeats {
		return d.Errf("%s is set twice; leave one of them out", name)
	}
	args := d.RemainingArgs()
	switch {
	case len(args) > l.values && l.values == 0:
		return d.Errf("%s takes no value; %q is too many", name, args[0])
	case len(args) > l.values:
		return d.Errf("%s takes %s, %s; %q is too many", name, valuesText[l.values], l.want, args[l.values])
	case len(args) < l.values:
		return d.Errf("%s needs %s: %s", name, valuesText[l.values], l.want)
	}
	if err := l.parse(args); err != nil {
		return d.Errf("%s: %v", name, err)
	}
	if d.NextLine() {
		d.Prev()
	} else if d.Next() { // on the same line as all arguments: a brace
		return d.Errf("%s takes no block", name)
	}
	return nil
}

// valuesText says how many values follow a name.
var valuesText = map[int]string{1: "one value", 3: "three values"}

func find(lines []line, name string) (line, bool) {
	for _, l := range lines {
		if l.name == name {
			return l, true
		}
	}
	return line{}, false
}

func lineNames(lines []line) string {
	var names []string
	for _, l := range lines {
		if l.barred == "" {
			names = append(names, l.name)
		}
	}
	return list(names)
}

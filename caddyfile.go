package sockopt

import (
	"fmt"
	"strings"

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
	d.Next() // consume the wrapper's name
	if d.NextArg() {
		return d.Errf("sockopt takes no argument, but options in a block, one a line; %q is too many", d.Val())
	}
	return parseBlock(d, w.lines(listen|accept))
}

// lines are the options of phases as lines of a block.
func (o *Options) lines(phases phase) []line {
	var lines []line
	for _, r := range rows {
		if r.phases&phases == 0 {
			continue
		}
		lines = append(lines, line{
			name:  r.name,
			want:  r.want(),
			isSet: func() bool { return r.isSet(o) },
			parse: func(value string) error { return r.parse(o, value) },
		})
	}
	return lines
}

// caddyfile returns the named options as lines that parse to the same options.
func (o Options) caddyfile() string {
	var b strings.Builder
	for _, r := range rows {
		if r.isSet(&o) {
			fmt.Fprintf(&b, "%s %s\n", r.name, r.text(&o))
		}
	}
	return b.String()
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
		if err := size.parse(d.Val()); err != nil {
			return d.Errf("echo_payload: %v", err)
		}
	}
	if d.NextArg() {
		return d.Errf("echo_payload takes one value, %s; %q is too many", wantSize, d.Val())
	}
	return parseBlock(d, []line{
		size,
		{
			name:  "fill",
			want:  "one ASCII character",
			isSet: func() bool { return e.Fill != "" },
			parse: func(value string) error {
				e.Fill = value
				return checkFill(value)
			},
		},
		{
			name:  "content_type",
			want:  wantContentType,
			isSet: func() bool { return e.ContentType != "" },
			parse: func(value string) error {
				e.ContentType = value
				return checkContentType(value)
			},
		},
		sizeLine("write_size", &e.WriteSize, checkWriteSize),
		{
			name:  "flush_headers",
			isSet: func() bool { return e.FlushHeaders },
			parse: func(string) error {
				e.FlushHeaders = true
				return nil
			},
		},
	})
}

func sizeLine(name string, place **Size, check func(Size) error) line {
	return line{
		name:  name,
		want:  wantSize,
		isSet: func() bool { return *place != nil },
		parse: func(value string) error {
			size, err := ParseSize(value)
			if err == nil && check != nil {
				err = check(size)
			}
			*place = &size
			return err
		},
	}
}

// line is one line that a block may hold: a name and a value.
type line struct {
	name  string
	want  string // what the value looks like; empty where there is none
	isSet func() bool
	parse func(value string) error
}

// parseBlock reads a block of lines, each at most once.
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
		return d.Errf("unknown option %q; here it can be %s", name, names(lines))
	}
	if l.isSet() {
		return d.Errf("%s is set twice; leave one of them out", name)
	}
	args := d.RemainingArgs()
	want := 1
	if l.want == "" {
		want = 0
	}
	switch {
	case len(args) > want && want == 0:
		return d.Errf("%s takes no value; %q is too many", name, args[0])
	case len(args) > want:
		return d.Errf("%s takes one value, %s; %q is too many", name, l.want, args[1])
	case len(args) < want:
		return d.Errf("%s needs a value: %s", name, l.want)
	}
	value := ""
	if want == 1 {
		value = args[0]
	}
	if err := l.parse(value); err != nil {
		return d.Errf("%s: %v", name, err)
	}
	if d.NextLine() {
		d.Prev()
	} else if d.Next() { // on the same line as all arguments: a brace
		return d.Errf("%s takes no block", name)
	}
	return nil
}

func find(lines []line, name string) (line, bool) {
	for _, l := range lines {
		if l.name == name {
			return l, true
		}
	}
	return line{}, false
}

func names(lines []line) string {
	all := make([]string, len(lines))
	for i, l := range lines {
		all[i] = l.name
	}
	return list(all)
}

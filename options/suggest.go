package options

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// unknown says that a name is no line of a block, and what was probably meant: an option of
// the http transport beside the block, the line for the kernel option of that name, or one
// with a similar name. Where nothing is near, it lists all.
func unknown(name string, lines []Line) error {
	options := find(lines, "on_unsupported") >= 0
	switch {
	case options && slices.Contains(transportOptions, name):
		return fmt.Errorf("unknown option %q: it is one of the transport's own; in transport sockopt write it beside socket { }, not inside", name)
	case options && name == "socket":
		return fmt.Errorf("unknown option %q: only transport sockopt has it; here options are written without it", name)
	}
	lower := strings.ToLower(name)
	for _, r := range rows {
		for kernel := range strings.SplitSeq(strings.ToLower(r.option.Name), ", ") {
			_, short, _ := strings.Cut(kernel, "_")
			if kernel != "" && (lower == kernel || lower == short) && r.name != name {
				return fmt.Errorf("unknown option %q (did you mean %s?)", name, r.name)
			}
		}
	}
	best, least := "", min(1+len(name)/3, 7) // a third of the longest name
	for _, l := range lines {
		d := distance(lower, l.Name, least)
		if len(lower) >= 4 && strings.HasPrefix(l.Name, lower) {
			d = 1
		}
		if d < least {
			best, least = l.Name, d
		}
	}
	if best == "" {
		return fmt.Errorf("unknown option %q; here it can be %s", name, Names(lines))
	}
	return fmt.Errorf("unknown option %q (did you mean %s?)", name, best)
}

// transportOptions are those of Caddy's http transport that have no namesake here.
var transportOptions = []string{
	"dial_timeout", "dial_fallback_delay", "read_timeout", "write_timeout", "response_header_timeout", "expect_continue_timeout",
	"keepalive_idle_conns", "keepalive_idle_conns_per_host", "max_conns_per_host", "local_address", "resolvers", "versions",
	"compression", "proxy_protocol", "network_proxy", "read_buffer", "write_buffer", "max_response_header",
}

// explain adds to the error of a value what was probably meant, if that is clear.
func (r row) explain(err error, text string) error {
	text = strings.Trim(text, `"`)
	lower := strings.ToLower(text)
	_, named := dscpNames[lower]
	number, numberErr := strconv.ParseUint(text, 0, 8)
	_, durationErr := ParseDuration(text)
	switch {
	case err == nil:
		return nil
	case r.name == "keepalive" && durationErr == nil:
		return fmt.Errorf("%w; did you mean keepalive_idle %s?", err, text)
	case r.name == "dscp" && named:
		return fmt.Errorf("%w; did you mean %s?", err, lower)
	case r.name == "dscp" && numberErr == nil && number > 63 && number%4 == 0:
		return fmt.Errorf("%w; as a TOS byte that is %s", err, DSCP(number>>2))
	case r.name == "dscp" && strings.HasPrefix(text, "0x") && numberErr == nil && number < 64:
		return fmt.Errorf("%w; did you mean %s?", err, DSCP(number))
	case r.name == "fastopen" && (text == "on" || text == "true"):
		return fmt.Errorf("%w; it is how many connections may wait: write fastopen 256", err)
	}
	return err
}

// distance returns how many letters have to be added, removed or replaced to make b of a
// (Levenshtein), or most where it is no less.
func distance(a, b string, most int) int {
	switch {
	case most <= 0 || a == b:
		return 0
	case a == "" || b == "":
		return min(len(a)+len(b), most)
	case a[0] == b[0]:
		return distance(a[1:], b[1:], most)
	}
	return 1 + min(distance(a[1:], b, most-1), distance(a, b[1:], most-1), distance(a[1:], b[1:], most-1))
}

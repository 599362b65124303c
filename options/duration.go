package options

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Duration is a time span. In JSON it is a string such as "30s", "1m30s" or "1d". A number is nanoseconds, as for
// Caddy's own durations, and refused below a millisecond, where another unit is meant. It is never negative.
type Duration time.Duration

// wantDuration says what a duration looks like.
const wantDuration = "a duration such as 40ms, 30s or 2h"

// ParseDuration reads a duration as Caddy does.
func ParseDuration(text string) (Duration, error) {
	d, err := caddy.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not %s", text, wantDuration)
	}
	return Duration(d), nil
}

// String returns the duration so that ParseDuration gives the same one back.
func (d Duration) String() string {
	s := strings.Replace(time.Duration(d).String(), "µ", "u", 1)
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalJSON writes what String returns.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads a string for ParseDuration or a number of nanoseconds.
func (d *Duration) UnmarshalJSON(b []byte) (err error) {
	parse := ParseDuration
	if n, err := strconv.ParseInt(string(b), 10, 64); err == nil {
		if n > 0 && n < int64(time.Millisecond) {
			return fmt.Errorf(`%d is nanoseconds, as every number is; write a string with a unit, such as "30s"`, n)
		}
		parse = func(text string) (Duration, error) { return ParseDuration(text + "ns") }
	}
	*d, err = fromJSON(b, wantDuration, parse)
	return err
}

package options

import (
	"fmt"
	"slices"
)

// UnmarshalJSON reads the options of dialed connections. Modules whose options are of other phases call Unmarshal.
func (o *Options) UnmarshalJSON(b []byte) error { return o.Unmarshal(b, Dial) }

// Unmarshal reads options from a JSON object, for a module that sets those of phases. An option of another phase is
// an error of Resolve. Unlike encoding/json it refuses null and names in other letter case, and its errors name the
// option, the value, and what would be right, instead of types of Go.
//
// If a name is there twice, the last value is taken: Caddy has decoded the JSON of a module into a map by then.
func (o *Options) Unmarshal(b []byte, phases Phase) error {
	return eachMember(b, `options, such as {"quickack": "auto"}`, func(name string, value []byte) error {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if i < 0 {
			return unknown(name, o.Lines(phases))
		}
		if err := rows[i].unmarshal(o, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

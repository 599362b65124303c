package options

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// UnmarshalJSON reads the options of dialed connections. Modules whose options are of
// other phases call Unmarshal.
func (o *Options) UnmarshalJSON(b []byte) error { return o.Unmarshal(b, Dial) }

// Unmarshal reads options from a JSON object, for a module that sets those of phases.
// An option of another phase is an error of Resolve. Unlike encoding/json it refuses
// null and names in other letter case, and its errors name the option, the value, and
// what would be right, instead of types of Go.
//
// If a name is there twice, the last value is taken: Caddy has decoded the JSON of a
// module into a map by then.
func (o *Options) Unmarshal(b []byte, phases Phase) error {
	return eachMember(b, `options, such as {"quickack": "auto"}`, func(name string, value []byte) error {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if i < 0 {
			lines := o.Lines(phases)
			return fmt.Errorf("unknown option %q%s; here it can be %s", name, didYouMean(name, lines), Names(lines))
		}
		if err := rows[i].unmarshal(o, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return nil
	})
}

// eachMember calls set for each member of an object, in the order of their names.
func eachMember(b []byte, want string, set func(name string, value []byte) error) error {
	var members map[string]json.RawMessage
	if json.Unmarshal(b, &members) != nil || members == nil {
		return isNot(b, want)
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if err := set(name, members[name]); err != nil {
			return err
		}
	}
	return nil
}

// decode reads one JSON value, which must not be null. A valueError says what would be
// right and is returned as it is. An error of encoding/json names Go types and is
// replaced.
func decode[T any](b []byte, want string) (*T, error) {
	var value *T
	err := json.Unmarshal(b, &value)
	if _, ok := errors.AsType[valueError](err); ok {
		return nil, err
	}
	if err != nil || value == nil {
		return nil, isNot(b, want)
	}
	return value, nil
}

// decodeSwitch reads a switch of JSON. The words of the Caddyfile are allowed, too.
func decodeSwitch(b []byte) (*bool, error) {
	switch string(b) {
	case `"on"`:
		return new(true), nil
	case `"off"`:
		return new(false), nil
	}
	return decode[bool](b, wantSwitch)
}

// valueError says why a value is not allowed.
type valueError string

func (e valueError) Error() string { return string(e) }

func isNot(b []byte, want string) error { return valueError(fmt.Sprintf("%s is not %s", b, want)) }

// numberOrText reads a JSON value that is an integer or a string.
func numberOrText[T any](b []byte, want string, number func(int64) (T, error), text func(string) (T, error)) (value T, err error) {
	if len(b) > 0 && b[0] == '"' {
		var s string
		if err = json.Unmarshal(b, &s); err == nil {
			value, err = text(s)
		}
	} else {
		var n int64
		if n, err = strconv.ParseInt(string(b), 10, 64); err == nil {
			value, err = number(n)
		}
	}
	if _, ok := errors.AsType[valueError](err); err != nil && !ok {
		err = isNot(b, want)
	}
	return value, err
}

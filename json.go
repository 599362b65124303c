package sockopt

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
)

// UnmarshalJSON reads options by their names. Where encoding/json takes null and
// names in other letters, this refuses them, and its errors name the option, the
// value and what it could be, instead of types of Go.
//
// Of a name that stands twice it never hears: Caddy has put the JSON of a module
// into a map by then, where the last one counts.
func (o *Options) UnmarshalJSON(b []byte) error {
	return eachMember(b, `options, such as {"quickack": "auto"}`, func(name string, value []byte) error {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if i < 0 {
			return fmt.Errorf("unknown option %q; it can be %s", name, lineNames(o.lines(listen|accept|dial|route)))
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

// decode reads one value of JSON, which must not be null.
func decode[T any](b []byte, want string) (*T, error) {
	var value *T
	if json.Unmarshal(b, &value) != nil || value == nil {
		return nil, isNot(b, want)
	}
	return value, nil
}

func isNot(b []byte, want string) error { return fmt.Errorf("%s is not %s", b, want) }

// fromJSON reads a value that is a number or a string in JSON. A number must be
// an integer. To its errors encoding/json adds the name of the field.
func fromJSON[T any](b []byte, want string, number func(int64) (T, error), text func(string) (T, error)) (value T, err error) {
	shown := string(b)
	if len(b) > 0 && b[0] == '"' {
		var s string
		if err = json.Unmarshal(b, &s); err != nil {
			return value, err
		}
		value, err = text(s)
	} else {
		var n int64
		if n, err = strconv.ParseInt(shown, 10, 64); err == nil {
			value, err = number(n)
		}
	}
	if err != nil {
		err = &json.UnmarshalTypeError{
			Value: shown + ", which is not " + want + ",",
			Type:  reflect.TypeFor[T](),
		}
	}
	return value, err
}

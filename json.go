package sockopt

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
)

// UnmarshalJSON reads the options of connections to backends. Those of a listener
// and of a route have their own, since each names what it could be in its place.
func (o *Options) UnmarshalJSON(b []byte) error { return o.unmarshal(b, dial) }

// UnmarshalJSON reads the options of a listener.
func (w *ListenerWrapper) UnmarshalJSON(b []byte) error { return w.unmarshal(b, listen|accept) }

// UnmarshalJSON reads the options of a route.
func (h *Handler) UnmarshalJSON(b []byte) error { return h.unmarshal(b, route) }

// unmarshal reads options by their names, for a place where those of phases are
// set; that one is of another phase, check says. Where encoding/json takes null and
// names in other letters, this refuses them, and its errors name the option, the
// value and what it could be, instead of types of Go.
//
// Of a name that stands twice it never hears: Caddy has put the JSON of a module
// into a map by then, where the last one counts.
func (o *Options) unmarshal(b []byte, phases phase) error {
	return eachMember(b, `options, such as {"quickack": "auto"}`, func(name string, value []byte) error {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == name })
		if i < 0 {
			return fmt.Errorf("unknown option %q; here it can be %s", name, lineNames(o.lines(phases)))
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
	err := json.Unmarshal(b, &value)
	if reason, ok := errors.AsType[reasonError](err); ok {
		return nil, reason
	}
	if err != nil || value == nil {
		return nil, isNot(b, want)
	}
	return value, nil
}

// reasonError says of a value more than what it could be.
type reasonError string

func (e reasonError) Error() string { return string(e) }

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
	if _, ok := errors.AsType[reasonError](err); err != nil && !ok {
		err = &json.UnmarshalTypeError{
			Value: shown + ", which is not " + want + ",",
			Type:  reflect.TypeFor[T](),
		}
	}
	return value, err
}

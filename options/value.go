package options

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

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

// decode reads one JSON value, which must not be null. An error of encoding/json names Go types and is replaced.
func decode[T any](b []byte, want string) (*T, error) {
	var value *T
	err := json.Unmarshal(b, &value)
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok || err == nil && value == nil {
		return nil, isNot(b, want)
	}
	return value, err
}

// decodeSwitch reads a switch of JSON. The words of the Caddyfile are allowed, too.
func decodeSwitch(b []byte) (*bool, error) {
	switch string(b) {
	case `"on"`:
		return new(true), nil
	case `"off"`:
		return new(false), nil
	}
	return decode[bool](b, `true, false, "on" or "off"`)
}

func isNot(b []byte, want string) error { return fmt.Errorf("%s is not %s", b, want) }

// fromJSON reads a value that is a string for parse, or a number that is written like one.
func fromJSON[T any](b []byte, want string, parse func(string) (T, error)) (value T, err error) {
	text := string(b)
	if strings.HasPrefix(text, `"`) {
		err = json.Unmarshal(b, &text)
	}
	if err == nil {
		value, err = parse(text)
	}
	if err != nil {
		err = isNot(b, want)
	}
	return value, err
}

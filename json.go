package sockopt

import (
	"encoding/json"
	"reflect"
	"strconv"
)

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

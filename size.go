package sockopt

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"

	"github.com/dustin/go-humanize"
)

// Size is a number of bytes. In JSON it is a number, or a string with a unit:
// 262144, "256KiB" (1024), "1MB" (1000). It is never negative.
type Size int64

// wantSize says what a size looks like.
const wantSize = "a size such as 64KiB, 1MB or a number of bytes"

// ParseSize reads a size as a person writes it: "256KiB", "1MB", "10000".
func ParseSize(text string) (Size, error) {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > math.MaxInt64 {
		return 0, fmt.Errorf("%q is not %s", text, wantSize)
	}
	return Size(n), nil
}

// String returns the size with the largest binary unit that divides it, so that
// ParseSize gives the same size back.
func (s Size) String() string {
	units := []string{"", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	n, unit := int64(s), 0
	for n != 0 && n%1024 == 0 {
		n /= 1024
		unit++
	}
	return strconv.FormatInt(n, 10) + units[unit]
}

// UnmarshalJSON reads a number of bytes or a string for ParseSize.
func (s *Size) UnmarshalJSON(b []byte) error {
	text := string(b)
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	} else if n, err := strconv.ParseInt(text, 10, 64); err != nil || n < 0 {
		return notASize(text)
	}
	size, err := ParseSize(text)
	if err != nil {
		return notASize(strconv.Quote(text))
	}
	*s = size
	return nil
}

// notASize is the error to which encoding/json adds the name of the field.
func notASize(text string) error {
	return &json.UnmarshalTypeError{
		Value: text + ", which is not " + wantSize + ",",
		Type:  reflect.TypeFor[Size](),
	}
}

package options

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode"

	"github.com/dustin/go-humanize"
)

// Size is a number of bytes. In JSON it is a number, or a string with a unit:
// 262144, "256KiB" (1024), "1MB" (1000). It is never negative.
type Size int64

// wantSize says what a size looks like.
const wantSize = "a size such as 64KiB, 1MB or a number of bytes"

// ParseSize reads a size as a person writes it, with the units of Caddy's other
// sizes: "256KiB", "1.5MB", "10000".
func ParseSize(text string) (Size, error) {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > math.MaxInt64 || misread(text) {
		return 0, fmt.Errorf("%q is not %s", text, wantSize)
	}
	return Size(n), nil
}

// misread reports whether humanize makes something of text that nobody means: 15 MB
// of "1,5MB", and 1 byte of "1.5".
func misread(text string) bool {
	return strings.Contains(text, ",") ||
		strings.Contains(text, ".") && !strings.ContainsFunc(text, unicode.IsLetter)
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
func (s *Size) UnmarshalJSON(b []byte) (err error) {
	*s, err = numberOrText(b, wantSize, sizeOf, ParseSize)
	return err
}

func sizeOf(n int64) (Size, error) {
	if n < 0 {
		return 0, fmt.Errorf("%d is not %s", n, wantSize)
	}
	return Size(n), nil
}

package options

import (
	"fmt"
	"math"
	"math/bits"
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

// ParseSize reads a size as a person writes it, with the units of Caddy's other sizes: "256KiB", "1.5MB", "10000".
func ParseSize(text string) (Size, error) {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > math.MaxInt64 || misread(text) {
		return 0, fmt.Errorf("%q is not %s", text, wantSize)
	}
	return Size(n), nil
}

// misread reports whether humanize reads text otherwise than it was meant: "1,5MB" as 15 MB, and "1.5" as 1 byte.
func misread(text string) bool {
	return strings.Contains(text, ",") ||
		strings.Contains(text, ".") && !strings.ContainsFunc(text, unicode.IsLetter)
}

// String returns the size with a unit, so that ParseSize gives the same size back. A size that has both a binary and
// a decimal unit, such as 256KB, which is 250KiB, gets the unit in which its number is a power of two.
func (s Size) String() string {
	binary, binaryUnit := s.in(1024, "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
	decimal, decimalUnit := s.in(1000, "KB", "MB", "GB", "TB", "PB", "EB")
	if decimalUnit != "" && (binaryUnit == "" || bits.OnesCount64(uint64(decimal)) == 1) { //nolint:gosec // never negative
		return strconv.FormatInt(decimal, 10) + decimalUnit
	}
	return strconv.FormatInt(binary, 10) + binaryUnit
}

// in returns the size in the largest of the units that divides it.
func (s Size) in(base int64, units ...string) (n int64, unit string) {
	n = int64(s)
	for _, next := range units {
		if n == 0 || n%base != 0 {
			break
		}
		n, unit = n/base, next
	}
	return n, unit
}

// UnmarshalJSON reads a number of bytes or a string for ParseSize.
func (s *Size) UnmarshalJSON(b []byte) (err error) {
	*s, err = fromJSON(b, wantSize, ParseSize)
	return err
}

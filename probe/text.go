package probe

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// mostText is how many characters of a text from the network are printed.
const mostText = 300

// printable returns s as it may be printed: without what a terminal could take for a
// command or for a change of the writing direction, and of a sane length.
func printable(s string) string {
	var b strings.Builder
	for n := 0; s != ""; n++ {
		if n == mostText {
			b.WriteString("…")
			break
		}
		r, size := utf8.DecodeRuneInString(s)
		if r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
			quoted := strconv.Quote(s[:size])
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
		s = s[size:]
	}
	return b.String()
}

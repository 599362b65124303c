package options

import "strings"

// didYouMean suggests a line for an unknown name: one with a similar name, or the one
// for the kernel option of that name.
func didYouMean(name string, lines []Line) string {
	lower := strings.ToLower(name)
	for _, r := range rows {
		for kernel := range strings.SplitSeq(strings.ToLower(r.option.Name), ", ") {
			_, short, _ := strings.Cut(kernel, "_")
			if kernel != "" && (lower == kernel || lower == short) && r.name != name {
				return " (did you mean " + r.name + "?)"
			}
		}
	}
	best, least := "", 1+len(name)/3
	for _, l := range lines {
		d := distance(lower, l.Name)
		if len(lower) >= 4 && strings.HasPrefix(l.Name, lower) {
			d = 1
		}
		if d < least {
			best, least = l.Name, d
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + best + "?)"
}

// distance returns how many letters have to be added, removed or replaced to make b of
// a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substituted := diagonal
			if a[i] != b[j] {
				substituted++
			}
			diagonal = row[j+1]
			row[j+1] = min(substituted, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

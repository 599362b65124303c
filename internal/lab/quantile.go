package lab

import (
	"cmp"
	"math"
	"slices"
)

// Quantile returns the number below which a share q of the figures is, interpolated
// between two figures. It is NaN where there are none.
func Quantile[T ~float64 | ~int64 | ~int](figures []T, q float64) float64 {
	if len(figures) == 0 {
		return math.NaN()
	}
	sorted := slices.SortedFunc(slices.Values(figures), cmp.Compare[T])
	place := q * float64(len(sorted)-1)
	below := int(place)
	above := min(below+1, len(sorted)-1)
	return float64(sorted[below]) + (place-float64(below))*float64(sorted[above]-sorted[below])
}

// Median returns the figure in the middle.
func Median[T ~float64 | ~int64 | ~int](figures []T) T {
	if len(figures) == 0 {
		var none T
		return none
	}
	return T(Quantile(figures, .5))
}

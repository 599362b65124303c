//go:build linux

package main

import (
	"math"
	"path/filepath"
	"strconv"
)

// picture shows figures as bars on a logarithmic scale, in a file beside RESULTS.md.
type picture struct {
	Name  string
	Title string
	Bars  []bar
}

// bar is a line of a picture.
type bar struct {
	Label  string
	figure float64
}

// draw draws the picture into dir, for light and dark backgrounds. Lengths are in pixels.
func (p *picture) draw(dir string) error {
	const left, top, width, lineHeight = 375, 50, 400, 26
	lowest, highest := math.Inf(1), math.Inf(-1) // powers of ten
	for _, b := range p.Bars {
		if b.figure > 0 {
			lowest, highest = min(lowest, math.Floor(math.Log10(b.figure)-.01)), max(highest, math.Ceil(math.Log10(b.figure)))
		}
	}
	x := func(figure float64) int {
		if figure <= 0 {
			return left
		}
		return left + int(width*(math.Log10(figure)-lowest)/(highest-lowest))
	}
	type mark struct {
		X, Y, Width int
		Label, Text string
	}
	bottom := top + len(p.Bars)*lineHeight
	drawn := struct {
		Title          string
		Height, Bottom int
		Ticks, Lines   []mark
	}{Title: p.Title, Height: bottom + 34, Bottom: bottom}
	for power := lowest; power <= highest; power++ {
		figure := math.Pow(10, power)
		drawn.Ticks = append(drawn.Ticks, mark{X: x(figure), Text: strconv.FormatFloat(figure, 'f', -1, 64)})
	}
	for i, b := range p.Bars {
		drawn.Lines = append(drawn.Lines, mark{
			X: x(b.figure), Y: top + i*lineHeight, Width: x(b.figure) - left, Label: b.Label, Text: number(b.figure),
		})
	}
	return render(filepath.Join(dir, p.Name+".svg"), "picture.svg.tmpl", drawn)
}

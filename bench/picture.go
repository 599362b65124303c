//go:build linux

package main

import (
	"bytes"
	"math"
	"strconv"
	"text/template"
)

// picture shows figures as bars on a logarithmic scale, in a file beside RESULTS.md.
type picture struct {
	name  string
	Title string
	Bars  []bar
}

// bar is a line of a picture.
type bar struct {
	Label  string
	figure float64
}

// File is the name of the picture's file.
func (p *picture) File() string { return p.name + ".svg" }

// drawing is for light and dark backgrounds. Lengths are in pixels.
var drawing = template.Must(template.New("").Parse(`<svg xmlns="http://www.w3.org/2000/svg" width="860" height="{{.Height}}" viewBox="0 0 860 {{.Height}}">
<title>{{.Title}}</title>
<style>
	svg { font: 13px sans-serif; }
	text { fill: #222; }
	line { stroke: #888; stroke-opacity: .4; }
	rect { fill: #0090d0; }
	@media (prefers-color-scheme: dark) { text { fill: #ddd; } }
</style>
<text x="20" y="25" font-size="15">{{.Title}}</text>
{{- $bottom := .Bottom}}
{{- range .Ticks}}
<line x1="{{.X}}" y1="42" x2="{{.X}}" y2="{{$bottom}}"/>
<text x="{{.X}}" y="{{$bottom}}" dy="18" text-anchor="middle">{{.Text}}</text>
{{- end}}
{{- range .Lines}}
<text x="365" y="{{.Y}}" dy="16" text-anchor="end">{{.Label}}</text>
<rect x="375" y="{{.Y}}" width="{{.Width}}" height="18"/>
<text x="{{.X}}" y="{{.Y}}" dx="6" dy="16">{{.Text}}</text>
{{- end}}
</svg>
`))

// svg draws the picture.
func (p *picture) svg() ([]byte, error) {
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
	var text bytes.Buffer
	err := drawing.Execute(&text, drawn)
	return text.Bytes(), err
}

//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math"

	svg "github.com/ajstarks/svgo"

	"github.com/caddy-sockopt/caddy-sockopt/probe"
)

// picture is a file beside RESULTS.md.
type picture struct {
	name string
	drawing
}

// drawing is an SVG with the title that it shows.
type drawing struct {
	Title string
	svg   []byte
}

// File is the name of the picture's file.
func (p picture) File() string { return p.name + ".svg" }

// bar is what a line of a picture shows.
type bar struct {
	label  string
	values []float64
}

// The pictures, in pixels.
const (
	pictureWidth  = 860
	plotLeft      = 375
	plotWidth     = 400
	plotTop       = 50
	lineHeight    = 26
	pictureMargin = 34
)

// style is for light and dark backgrounds.
const style = `
	svg { font: 13px sans-serif; }
	text { fill: #222; }
	line { stroke: #888; stroke-opacity: .4; }
	.title { font-size: 15px; }
	@media (prefers-color-scheme: dark) { text { fill: #ddd; } }
	.bar { fill: #0090d0; }
	.spread { fill: #0090d0; fill-opacity: .45; }
	.sample { fill: #0090d0; fill-opacity: .8; }
	.median { fill: #d55e00; }
	line.wanted { stroke: #d55e00; stroke-opacity: .9; stroke-dasharray: 4 3; }
`

// canvas is a picture that has lines.
type canvas struct {
	*svg.SVG
	b bytes.Buffer
}

func newCanvas(title string, lines int) *canvas {
	c := new(canvas)
	c.SVG = svg.New(&c.b)
	height := plotTop + lines*lineHeight + pictureMargin
	c.Startview(pictureWidth, height, 0, 0, pictureWidth, height)
	c.SVG.Title(title)
	c.Style("text/css", style)
	c.Text(20, 25, title, `class="title"`)
	return c
}

func (c *canvas) end() []byte {
	c.End()
	return c.b.Bytes()
}

// tick draws a vertical line and what it stands for.
func (c *canvas) tick(x, lines int, label string) {
	bottom := plotTop + lines*lineHeight
	c.Line(x, plotTop-8, x, bottom)
	c.Text(x, bottom+18, label, `text-anchor="middle"`)
}

// barsPicture draws medians on a logarithmic scale.
func barsPicture(title, unit string, bars []bar) drawing {
	least, most := extent(bars)
	lowest, highest := math.Floor(math.Log10(least)-.01), math.Ceil(math.Log10(most))
	var ticks []float64
	for power := lowest; power <= highest; power++ {
		ticks = append(ticks, math.Pow(10, power))
	}
	return drawBars(title, unit, bars, ticks, func(v float64) float64 {
		return (math.Log10(v) - lowest) / (highest - lowest)
	})
}

// linearPicture draws medians from zero on.
func linearPicture(title, unit string, bars []bar) drawing {
	_, most := extent(bars)
	step := math.Pow(10, math.Floor(math.Log10(most)))
	highest := math.Ceil(most/step) * step
	var ticks []float64
	for v := 0.0; v <= highest; v += step {
		ticks = append(ticks, v)
	}
	return drawBars(title, unit, bars, ticks, func(v float64) float64 { return v / highest })
}

// extent returns the least and the most of medians.
func extent(bars []bar) (least, most float64) {
	least = math.Inf(1)
	for _, b := range bars {
		if m := median(b.values); m > 0 {
			least, most = min(least, m), max(most, m)
		}
	}
	if most == 0 {
		return 1, 10
	}
	return least, most
}

// drawBars draws medians on a scale that places them from 0 to 1.
func drawBars(title, unit string, bars []bar, ticks []float64, scale func(float64) float64) drawing {
	x := func(v float64) int { return plotLeft + int(plotWidth*scale(v)) }
	c := newCanvas(title, len(bars))
	for _, v := range ticks {
		c.tick(x(v), len(bars), quantity(v, unit))
	}
	for i, b := range bars {
		y := plotTop + i*lineHeight
		c.Text(plotLeft-10, y+16, b.label, `text-anchor="end"`)
		if m := median(b.values); m > 0 {
			c.Rect(plotLeft, y+3, x(m)-plotLeft, lineHeight-8, `class="bar"`)
			c.Text(x(m)+6, y+16, quantity(m, unit), "")
		}
	}
	return drawing{title, c.end()}
}

func quantity(v float64, unit string) string {
	if unit == "s" {
		return probe.Duration(v)
	}
	return number(v)
}

// spreadPicture draws ratios: the samples but for the outermost, the quartiles as a box,
// and the median.
func spreadPicture(title string, bar float64, bars []bar) drawing {
	least, most := bar, bar
	for _, b := range bars {
		if len(b.values) > 0 {
			least, most = min(least, quantile(b.values, .02)), max(most, quantile(b.values, .98))
		}
	}
	const step = .05
	least, most = math.Floor(least/step)*step, math.Ceil(most/step)*step
	if most-least < 2*step {
		most = least + 2*step
	}
	x := func(v float64) int { return plotLeft + int(plotWidth*(v-least)/(most-least)) }
	c := newCanvas(title, len(bars))
	every := max(1, math.Round((most-least)/step/8)) * step
	for v := least; v <= most+step/10; v += every {
		c.tick(x(v), len(bars), fmt.Sprintf("%.2f", v))
	}
	c.Line(x(bar), plotTop-8, x(bar), plotTop+len(bars)*lineHeight, `class="wanted"`)
	for i, b := range bars {
		y := plotTop + i*lineHeight
		c.Text(plotLeft-10, y+16, b.label, `text-anchor="end"`)
		if len(b.values) == 0 {
			continue
		}
		low, high := x(quantile(b.values, .25)), x(quantile(b.values, .75))
		c.Rect(low, y+4, max(1, high-low), lineHeight-10, `class="spread"`)
		for _, v := range b.values {
			if v >= least && v <= most {
				c.Circle(x(v), y+12, 2, `class="sample"`)
			}
		}
		c.Rect(x(median(b.values))-1, y+2, 3, lineHeight-6, `class="median"`)
		c.Text(pictureWidth-12, y+16, ratio(median(b.values)), `text-anchor="end"`)
	}
	return drawing{title, c.end()}
}

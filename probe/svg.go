package probe

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"math"
)

// The picture, in pixels.
const (
	pictureWidth         = 800
	panelHeight          = 380 // of each report
	plotLeft, plotTop    = 80, 50
	plotWidth            = 690
	plotHeight           = 290
	legendRow, legendCol = 22, 345
	legendRows           = 5
)

// style works on light and dark backgrounds: the dots' colours stand out on both.
const style = `
	svg { font: 13px sans-serif; }
	text { fill: #222; }
	line { stroke: #888; stroke-opacity: .35; }
	.title { font-size: 15px; }
	@media (prefers-color-scheme: dark) { text { fill: #ddd; } }
	.e1 { fill: #888888; }
	.e2 { fill: #d55e00; }
	.e3 { fill: #0090d0; }
	.e4 { fill: #c060a0; }
	.e5 { fill: #009e73; }
	.e6 { fill: #b08000; }
	.e7 { fill: #7060e0; }
	.e8 { fill: #d02040; }
	.e9 { fill: #508000; }
`

// SVG draws how long each request of each experiment took, on a logarithmic scale. The
// reports stand one below the other and share the scale.
func SVG(w io.Writer, reports ...*Report) error {
	p := picture{lowest: math.Inf(1), longest: 1}
	highest := 0.0
	for _, r := range reports {
		for _, e := range r.Experiments {
			p.longest = max(p.longest, len(e.Seconds))
			for _, s := range e.Seconds {
				p.lowest, highest = min(p.lowest, s), max(highest, s)
			}
		}
	}
	if highest == 0 {
		p.lowest, highest = .001, .001
	}
	p.lowest, p.highest = math.Floor(math.Log10(p.lowest)), math.Ceil(math.Log10(highest))
	p.highest = max(p.highest, p.lowest+1)

	height := len(reports)*panelHeight + legendRows*legendRow
	fmt.Fprintf(&p.b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%[2]d\" viewBox=\"0 0 %[1]d %[2]d\">\n", pictureWidth, height)
	fmt.Fprintf(&p.b, "<title>Time of each request</title>\n<style>%s</style>\n", style)
	for i, r := range reports {
		fmt.Fprintf(&p.b, "<g transform=\"translate(0 %d)\">\n", i*panelHeight)
		p.panel(r)
		p.b.WriteString("</g>\n")
	}
	for i, e := range made(reports) {
		left, top := plotLeft+legendCol*(i/legendRows), len(reports)*panelHeight+5+legendRow*(i%legendRows)
		p.circle(left, top-4, 5, e.Number)
		p.text(left+12, top, "", fmt.Sprintf("%d  %s", e.Number, e.Name))
	}
	p.b.WriteString("</svg>\n")
	_, err := w.Write(p.b.Bytes())
	return err
}

type picture struct {
	b               bytes.Buffer
	lowest, highest float64 // powers of ten, in seconds
	longest         int     // requests of an experiment
}

func (p *picture) panel(r *Report) {
	y := func(seconds float64) int {
		return plotTop + plotHeight - int(plotHeight*(math.Log10(seconds)-p.lowest)/(p.highest-p.lowest))
	}
	x := func(request int) int { return plotLeft + plotWidth*request/p.longest }
	p.text(16, 22, `class="title"`, fmt.Sprintf("%s %s: %s", r.Method, r.URL, r.Verdict))
	for power := p.lowest; power <= p.highest; power++ {
		value := math.Pow(10, power)
		fmt.Fprintf(&p.b, "<line x1=\"%d\" y1=\"%[2]d\" x2=\"%[3]d\" y2=\"%[2]d\"/>\n", plotLeft, y(value), plotLeft+plotWidth)
		p.text(plotLeft-8, y(value)+4, `text-anchor="end"`, Duration(value))
	}
	for i := range 6 {
		request := p.longest * i / 5
		p.text(x(request), plotTop+plotHeight+18, `text-anchor="middle"`, fmt.Sprint(request))
	}
	p.text(plotLeft+plotWidth, plotTop+plotHeight+18, `text-anchor="end" dx="-18"`, "requests")
	p.text(16, plotTop-10, "", "time of a request")
	for i, e := range r.Experiments {
		for n, seconds := range e.Seconds {
			// Beside each other, since experiments may take the same time.
			p.circle(x(n+1)-2*(len(experiments)-i), y(seconds), 3, e.Number)
		}
	}
}

func (p *picture) circle(x, y, radius, experiment int) {
	fmt.Fprintf(&p.b, "<circle cx=\"%d\" cy=\"%d\" r=\"%d\" class=\"e%d\"/>\n", x, y, radius, experiment)
}

func (p *picture) text(x, y int, attributes, text string) {
	if attributes != "" {
		attributes = " " + attributes
	}
	fmt.Fprintf(&p.b, "<text x=\"%d\" y=\"%d\"%s>", x, y, attributes)
	_ = xml.EscapeText(&p.b, []byte(text)) // to a buffer
	p.b.WriteString("</text>\n")
}

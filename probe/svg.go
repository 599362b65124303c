package probe

import (
	"bytes"
	"fmt"
	"io"
	"math"

	svg "github.com/ajstarks/svgo"
)

// The picture, in pixels.
const (
	pictureWidth, pictureHeight     = 800, 450
	plotLeft, plotTop               = 80, 50
	plotWidth, plotHeight           = 690, 290
	legendTop, legendRow, legendCol = 385, 22, 345
)

// style is for light and dark backgrounds: the dots' colours stand out on both.
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
`

// SVG draws how long each request of each experiment took, on a logarithmic scale.
func (r *Report) SVG(w io.Writer) error {
	least, most, longest := math.Inf(1), 0.0, 1
	for _, e := range r.Experiments {
		longest = max(longest, len(e.Seconds))
		for _, s := range e.Seconds {
			least, most = min(least, s), max(most, s)
		}
	}
	if most == 0 {
		least, most = .001, .001
	}
	lowest, highest := math.Floor(math.Log10(least)), math.Ceil(math.Log10(most))
	highest = max(highest, lowest+1)
	y := func(seconds float64) int {
		return plotTop + plotHeight - int(plotHeight*(math.Log10(seconds)-lowest)/(highest-lowest))
	}
	x := func(request int) int { return plotLeft + plotWidth*request/longest }

	var b bytes.Buffer
	s := svg.New(&b)
	s.Startview(pictureWidth, pictureHeight, 0, 0, pictureWidth, pictureHeight)
	s.Title("Time of each request to " + r.URL)
	s.Style("text/css", style)
	s.Text(plotLeft, 25, fmt.Sprintf("%s %s: %s", r.Method, r.URL, r.Verdict), `class="title"`)
	for power := lowest; power <= highest; power++ {
		value := math.Pow(10, power)
		s.Line(plotLeft, y(value), plotLeft+plotWidth, y(value))
		s.Text(plotLeft-8, y(value)+4, Duration(value), `text-anchor="end"`)
	}
	for i := range 6 {
		request := longest * i / 5
		s.Text(x(request), plotTop+plotHeight+18, fmt.Sprint(request), `text-anchor="middle"`)
	}
	s.Text(plotLeft+plotWidth, plotTop+plotHeight+18, "requests", `text-anchor="end" dx="-18"`)
	s.Text(16, plotTop-10, "time of a request", "")
	for i, e := range r.Experiments {
		class := fmt.Sprintf(`class="e%d"`, e.Number)
		for n, seconds := range e.Seconds {
			// Beside each other, since experiments may take the same time.
			s.Circle(x(n+1)-2*(len(r.Experiments)-i), y(seconds), 3, class)
		}
		left, top := plotLeft+legendCol*(i/3), legendTop+legendRow*(i%3)
		s.Circle(left, top-4, 5, class)
		s.Text(left+12, top, fmt.Sprintf("%d  %s", e.Number, e.Name), "")
	}
	s.End()
	_, err := w.Write(b.Bytes())
	return err
}

package probe

import (
	"fmt"
	"html"
	"io"
	"math"
	"strings"
)

// style works on light and dark backgrounds: the dots' colours stand out on both.
const style = `<svg xmlns="http://www.w3.org/2000/svg" width="800" height="%d" viewBox="0 0 800 %[1]d">
<title>Time of each request</title>
<style>
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
</style>
`

// SVG draws how long each request of each experiment took, on a logarithmic scale. The
// reports stand one below the other and share the scale.
func SVG(w io.Writer, reports ...*Report) error {
	longest, lowest, highest := 1, math.Inf(1), 0.0
	for _, r := range reports {
		for _, e := range r.Experiments {
			longest = max(longest, len(e.Seconds))
			for _, s := range e.Seconds {
				lowest, highest = min(lowest, s), max(highest, s)
			}
		}
	}
	if highest == 0 {
		lowest, highest = .001, .001
	}
	lowest = math.Floor(math.Log10(lowest)) // powers of ten from here on
	highest = max(math.Ceil(math.Log10(highest)), lowest+1)
	// A panel has 690 by 290 pixels for the dots, from 80, 50 on.
	x := func(request int) int { return 80 + 690*request/longest }
	y := func(power float64) int { return 340 - int(290*(power-lowest)/(highest-lowest)) }

	const panelHeight, legendRow, legendRows = 380, 22, 5
	end := len(reports) * panelHeight
	var b strings.Builder
	fmt.Fprintf(&b, style, end+legendRows*legendRow)
	for i, r := range reports {
		title := html.EscapeString(fmt.Sprintf("%s %s: %s", r.Method, r.URL, r.Verdict))
		fmt.Fprintf(&b, "<g transform=\"translate(0 %d)\">\n<text x=\"16\" y=\"22\" class=\"title\">%s</text>\n", i*panelHeight, title)
		for power := lowest; power <= highest; power++ {
			fmt.Fprintf(&b, "<line x1=\"80\" y1=\"%d\" x2=\"770\" y2=\"%[1]d\"/>\n<text x=\"72\" y=\"%[1]d\" dy=\"4\" text-anchor=\"end\">%s</text>\n",
				y(power), Duration(math.Pow(10, power)))
		}
		for i := range 6 {
			request := longest * i / 5
			fmt.Fprintf(&b, "<text x=\"%d\" y=\"358\" text-anchor=\"middle\">%d</text>\n", x(request), request)
		}
		b.WriteString("<text x=\"752\" y=\"358\" text-anchor=\"end\">requests</text>\n<text x=\"16\" y=\"40\">time of a request</text>\n")
		for i, e := range r.Experiments {
			for n, seconds := range e.Seconds {
				// Beside each other, since experiments may take the same time.
				fmt.Fprintf(&b, "<circle cx=\"%d\" cy=\"%d\" r=\"3\" class=\"e%d\"/>\n", x(n+1)-2*(len(experiments)-i), y(math.Log10(seconds)), e.Number)
			}
		}
		b.WriteString("</g>\n")
	}
	for i, e := range made(reports) {
		fmt.Fprintf(&b, "<circle cx=\"%d\" cy=\"%d\" r=\"5\" class=\"e%d\"/>\n<text x=\"%[1]d\" y=\"%[2]d\" dx=\"12\" dy=\"4\">%[3]d  %s</text>\n",
			80+345*(i/legendRows), end+1+legendRow*(i%legendRows), e.Number, e.Name)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

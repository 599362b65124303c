package probe

import (
	"fmt"
	"io"
	"math"
	"text/template"
)

// picture works on light and dark backgrounds: the dots' colours stand out on both. A panel
// has 690 by 290 pixels for the dots, from 80, 50 on.
var picture = template.Must(template.New("").Parse(`<svg xmlns="http://www.w3.org/2000/svg" width="800" height="{{.Height}}" viewBox="0 0 800 {{.Height}}">
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
{{range .Panels}}<g transform="translate(0 {{.Y}})">
<text x="16" y="22" class="title">{{html .Text}}</text>
{{range .Times}}<line x1="80" y1="{{.Y}}" x2="770" y2="{{.Y}}"/>
<text x="72" y="{{.Y}}" dy="4" text-anchor="end">{{.Text}}</text>
{{end}}{{range .Requests}}<text x="{{.X}}" y="358" text-anchor="middle">{{.Text}}</text>
{{end}}<text x="752" y="358" text-anchor="end">requests</text>
<text x="16" y="40">time of a request</text>
{{range .Dots}}<circle cx="{{.X}}" cy="{{.Y}}" r="3" class="e{{.Text}}"/>
{{end}}</g>
{{end}}{{range .Experiments}}<circle cx="{{.X}}" cy="{{.Y}}" r="5" class="e{{slice .Text 0 1}}"/>
<text x="{{.X}}" y="{{.Y}}" dx="12" dy="4">{{.Text}}</text>
{{end}}</svg>
`))

// mark is something at a place of the picture, in pixels.
type mark struct {
	X, Y int
	Text string
}

type panel struct {
	mark
	Times, Requests, Dots []mark
}

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
	x := func(request int) int { return 80 + 690*request/longest }
	y := func(power float64) int { return 340 - int(290*(power-lowest)/(highest-lowest)) }

	const panelHeight, legendRow, legendRows = 380, 22, 5
	end := len(reports) * panelHeight
	panels := make([]panel, 0, len(reports))
	for i, r := range reports {
		p := panel{mark: mark{Y: i * panelHeight, Text: fmt.Sprintf("%s %s: %s", r.Method, r.URL, r.Verdict)}}
		for power := lowest; power <= highest; power++ {
			p.Times = append(p.Times, mark{Y: y(power), Text: Duration(math.Pow(10, power))})
		}
		for i := range 6 {
			request := longest * i / 5
			p.Requests = append(p.Requests, mark{X: x(request), Text: fmt.Sprint(request)})
		}
		for i, e := range r.Experiments {
			for n, seconds := range e.Seconds {
				// Beside each other, since experiments may take the same time.
				p.Dots = append(p.Dots, mark{x(n+1) - 2*(len(experiments)-i), y(math.Log10(seconds)), fmt.Sprint(e.Number)})
			}
		}
		panels = append(panels, p)
	}
	legend := make([]mark, 0, len(experiments))
	for i, e := range made(reports) {
		legend = append(legend, mark{80 + 345*(i/legendRows), end + 1 + legendRow*(i%legendRows), fmt.Sprintf("%d  %s", e.Number, e.Name)})
	}
	return picture.Execute(w, map[string]any{"Height": end + legendRows*legendRow, "Panels": panels, "Experiments": legend})
}

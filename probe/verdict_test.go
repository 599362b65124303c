package probe

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// repeat is n requests of as many seconds each.
func repeat(n int, seconds float64) []float64 { return slices.Repeat([]float64{seconds}, n) }

func TestVerdict(t *testing.T) {
	const quick, linux, windows, work = .0002, .0442, .2002, .0502
	all := func(seconds float64) []float64 { return repeat(30, seconds) }
	few := func(seconds float64) []float64 { return repeat(paused, seconds) }
	half := slices.Concat(repeat(15, linux), repeat(15, quick))
	ramp := make([]float64, 30) // no timer's: every wait differs
	jitter := make([]float64, 30)
	for i := range ramp {
		ramp[i] = .03 * float64(i)
		jitter[i] = .035 + .001*float64(i)
	}
	for _, test := range []struct {
		name                   string
		e1, e2, e3, e4, e5, e7 []float64
		want                   Verdict
	}{
		{"no stall", all(quick), all(quick), all(quick), all(quick), all(quick), nil, NoStall},
		{"Nagle", all(quick), all(linux), all(quick), all(linux), all(linux), nil, Nagle},
		{"Nagle, other peers", all(quick), all(windows), all(quick), all(windows), all(windows), nil, Nagle},
		{"Nagle, every other request", all(quick), half, all(quick), half, half, nil, Nagle},
		{"delayed ACK", all(quick), all(quick), all(quick), all(linux), all(quick), nil, DelayedAck},
		{"delayed ACK, 200 ms", all(quick), all(quick), all(quick), all(windows), all(quick), nil, DelayedAck},
		{"delayed ACK, every other request", all(quick), all(quick), all(quick), half, all(quick), nil, DelayedAck},
		{"both", all(quick), all(linux), all(quick), all(2 * linux), all(linux), nil, Both},
		{"behind", all(linux), all(linux), all(linux), all(linux), all(linux), few(quick), Behind},
		{"behind, 200 ms", all(windows), all(windows), all(windows), all(windows), all(windows), few(quick), Behind},
		{"behind, with work", all(work + linux), all(work + linux), all(work + linux), all(work + linux), all(work + linux), few(work), Behind},
		{"behind, new connections are quick", all(quick), all(linux), all(linux), all(linux), all(linux), few(quick), Behind},
		{"behind, the pause changes nothing", all(quick), all(linux), all(linux), all(linux), all(linux), few(linux), Behind},
		{"behind, every other request", half, half, half, half, half, few(quick), Behind},
		{"behind, and Nagle", all(linux), all(2 * linux), all(linux), all(2 * linux), all(2 * linux), few(quick), Nagle + and + Behind},
		{"behind, and delayed ACK", all(linux), all(linux), all(linux), all(2 * linux), all(linux), few(quick), Behind + and + DelayedAck},
		{"behind, no TCP_QUICKACK here", all(linux), all(linux), nil, all(linux), all(linux), few(quick), Behind},
		{"slow handler", all(windows), all(windows), all(windows), all(windows), all(windows), few(windows), OtherSlow},
		{"slow handler of a timer's time", all(linux), all(linux), all(linux), all(linux), all(linux), few(linux), OtherSlow},
		{"slow handler with jitter", jitter, jitter, jitter, jitter, jitter, jitter[:paused], OtherSlow},
		{"slow handler, no pauses made", all(work), all(work), all(work), all(work), all(work), nil, OtherSlow},
		{"slow handler and Nagle", all(windows), all(windows + linux), all(windows), all(windows + linux), all(windows + linux), few(windows), Nagle},
		{"one outlier", all(quick), append(all(quick), linux), all(quick), all(quick), all(quick), nil, NoStall},
		{"two outliers in pieces", all(quick), all(quick), all(quick), append(all(quick), linux, linux), all(quick), nil, NoStall},
		{"noise everywhere", half, half, half, half, half, half[15-paused/2:][:paused], NoStall},
		{"no timer", all(quick), ramp, all(quick), all(quick), all(quick), nil, NoStall},
		{"too long for a timer", all(quick), all(1.5), all(quick), all(quick), all(quick), nil, NoStall},
		{"no TCP_QUICKACK here, Nagle", all(quick), all(linux), nil, all(linux), all(linux), few(quick), Nagle},
		{"no TCP_QUICKACK here", all(quick), all(quick), nil, all(quick), all(quick), nil, NoStall},
		{"closes after each response", all(quick), nil, nil, nil, nil, nil, NoStall},
		{"closes after each response, slowly", all(windows), nil, nil, nil, nil, nil, OtherSlow},
		{"over too soon", all(quick), repeat(2, quick), nil, nil, nil, nil, Unclear},
		{"over too soon, slow", all(8.4), repeat(2, 8.4), nil, nil, nil, nil, OtherSlow},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &Report{URL: "http://localhost:8080/", Path: .00004}
			closes := test.e2 == nil
			for i, seconds := range [][]float64{test.e1, test.e2, test.e3, test.e4, test.e5, nil, test.e7} {
				result := Result{Experiment: experiments[i], Seconds: seconds}
				switch {
				case closes && i > 0:
					result.err = errCloses
				case test.want == Unclear && seconds == nil:
					result.err = errBudget
				}
				result.sum(30)
				r.Experiments = append(r.Experiments, result)
			}
			if test.e3 == nil && !closes && test.want != Unclear {
				r.Experiments[2].err = errCloses // as if it were unsupported
			}
			r.judge()
			require.Equal(t, test.want, r.Verdict, "%q", r.Evidence)
			require.NotEmpty(t, r.Evidence)
			require.NotEmpty(t, r.Meaning)
			target, err := url.Parse(r.URL)
			require.NoError(t, err)
			r.advise(target, false)
			require.Equal(t, r.Verdict != NoStall && r.Verdict != Unclear, r.Fix != "")
		})
	}
}

// TestVerdictOverPath: what the path takes is no stall, and what it hides is said.
func TestVerdictOverPath(t *testing.T) {
	const timer, end = .044, .02 // of the delayed ACK; from a response's first byte to its last
	for _, path := range []float64{.00004, .02, .028, .06, .15, .3} {
		for _, test := range []struct {
			name                               string
			acked, nagled, pieces, fresh, work float64 // what they wait for
			want                               Verdict
		}{
			{"cured", 0, 0, 0, 0, 0, NoStall},
			{"delayed ACK", 0, 0, timer, timer, 0, DelayedAck + and + AfterHandshake},
			{"after the handshake", 0, 0, 0, timer, 0, AfterHandshake},
			{"Nagle", path, path + timer, 0, 0, 0, Nagle},
			{"slow handler", 0, 0, 0, 0, timer, OtherSlow},
			{"slow handler, delayed ACK", 0, 0, timer, 0, timer, DelayedAck},
			{"fewer segments at a time", 0, 2 * path, 0, 0, 0, NoStall},
		} {
			t.Run(fmt.Sprintf("%s, %v s", test.name, path), func(t *testing.T) {
				r := &Report{URL: "https://localhost/", Path: path}
				for _, e := range experiments {
					first := float64(e.trips)*path + test.work
					rest := end * path
					switch e.Number {
					case keepAlive:
						rest += test.nagled
					case ackAtOnce, ackAfterPause:
						rest += test.acked
					case piecesNagle:
						first += test.pieces
						rest += path // after a packet that got lost in the warm-up
					case freshNagle:
						first += test.fresh
					}
					result := Result{Experiment: e, firsts: repeat(10, first), Seconds: repeat(10, first+rest)}
					// A tenth of the requests lose a packet, and later ones take a trip more.
					for i := range 3 {
						result.Seconds[i*3] += path
					}
					result.Seconds[9] += .25
					result.firsts[9] += .25
					for i := range 6 { // a connection that lost more than the others
						if e.Number == piecesNoDelay {
							result.firsts[i] += .06
						}
					}
					result.sum(10)
					r.Experiments = append(r.Experiments, result)
				}
				r.judge()
				require.Equal(t, test.want, r.Verdict, "%q", r.Evidence)
				require.Equal(t, path >= hiding, r.Hidden != "")
			})
		}
	}
}

// TestMeaning says who waits after a handshake, and whom it spares.
func TestMeaning(t *testing.T) {
	for verdict, want := range map[Verdict][]string{
		AfterHandshake:                    {"Ordinary requests do not wait. Only a client with Nagle's algorithm on waits on every new connection", "Clients with TCP_NODELAY are spared"},
		DelayedAck + and + AfterHandshake: {"on every new connection", "whenever it sends a request in pieces", "are spared"},
		Nagle + and + AfterHandshake:      {"Ordinary requests wait for a timer. A client", "waits once more on every new connection"},
	} {
		for _, part := range want {
			require.Contains(t, verdict.meaning(), part)
		}
		require.True(t, verdict.WaitsWithNagle())
	}
}

// TestAdviceForwardsElsewhere: a site at a port of sites is not its own backend.
func TestAdviceForwardsElsewhere(t *testing.T) {
	for at, want := range map[string]string{
		"https://example.com/": "https://BACKEND:PORT", "https://example.com:443/": "https://BACKEND:PORT", "http://example.com:80/": "http://BACKEND:PORT",
		"http://example.com:8080/": "http://example.com:8080", "http://[::1]:8092/": "http://[::1]:8092",
	} {
		target, err := url.Parse(at)
		require.NoError(t, err)
		r := &Report{Verdict: Nagle}
		r.advise(target, false)
		require.Contains(t, r.Fix, "reverse_proxy "+want+" {\n", at)
	}
}

// TestPicture is XML, whatever the URL has.
func TestPicture(t *testing.T) {
	r := &Report{URL: `http://localhost/?a="<b>"&c='d'`, Verdict: Both}
	for _, e := range experiments {
		r.Experiments = append(r.Experiments, Result{Experiment: e, Seconds: []float64{.0002, .044}})
	}
	var picture bytes.Buffer
	require.NoError(t, SVG(&picture, r, r))
	var svg struct {
		Titles []string `xml:"g>text"`
	}
	require.NoError(t, xml.Unmarshal(picture.Bytes(), &svg))
	require.Contains(t, svg.Titles, " "+r.URL+": "+string(r.Verdict))
	require.Equal(t, 2*2*len(experiments), strings.Count(picture.String(), `r="3"`))
}

// TestNull: what was not measured is null in JSON.
func TestNull(t *testing.T) {
	r := Result{Experiment: experiments[0], err: errCloses}
	r.sum(30)
	text, err := json.Marshal(r)
	require.NoError(t, err)
	require.JSONEq(t, `{"number": 1, "name": "new connections", "seconds": null, "requests_per_second": null, "p50_seconds": null,
		"p90_seconds": null, "p99_seconds": null, "max_seconds": null, "note": "the server closes the connection after each response"}`, string(text))
}

func TestQuantile(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	for p, want := range map[float64]float64{0: 1, .2: 1, .5: 3, .9: 5, 1: 5} {
		require.InDelta(t, want, quantile(values, p), 0, "%v", p)
	}
	require.InDelta(t, 7, quantile([]float64{7}, .5), 0)
}

func TestPrintable(t *testing.T) {
	for text, want := range map[string]string{
		"nginx/1.22.1":             "nginx/1.22.1",
		`"a\x1b\\"`:                `"a\x1b\\"`,
		"größer 世界":                "größer 世界",
		"a\x1b[31mb":               `a\x1b[31mb`,
		"a\u009b31mb":              `a\u009b31mb`,
		"a\u009d0;title\u009cb":    `a\u009d0;title\u009cb`,
		"a\u202eb\u2066c":          `a\u202eb\u2066c`,
		"a\xffb":                   `a\xffb`,
		"a\r\nb\x00":               `a\r\nb\x00`,
		string(make([]byte, 1000)): "",
	} {
		got := printable(text)
		if want == "" {
			require.Less(t, len(got), 5*mostText)
			continue
		}
		require.Equal(t, want, got)
	}
}

package probe

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// repeat is n requests of as many seconds each.
func repeat(n int, seconds float64) []float64 { return slices.Repeat([]float64{seconds}, n) }

func TestVerdict(t *testing.T) {
	const quick, linux, windows = .0002, .0442, .2002
	all := func(seconds float64) []float64 { return repeat(30, seconds) }
	half := slices.Concat(repeat(15, linux), repeat(15, quick))
	ramp := make([]float64, 30) // no timer's: every wait another
	for i := range ramp {
		ramp[i] = .03 * float64(i)
	}
	for _, test := range []struct {
		name               string
		e1, e2, e3, e4, e5 []float64
		want               Verdict
	}{
		{"no stall", all(quick), all(quick), all(quick), all(quick), all(quick), NoStall},
		{"Nagle", all(quick), all(linux), all(quick), all(linux), all(linux), Nagle},
		{"Nagle, other peers", all(quick), all(windows), all(quick), all(windows), all(windows), Nagle},
		{"Nagle, every other request", all(quick), half, all(quick), half, half, Nagle},
		{"delayed ACK", all(quick), all(quick), all(quick), all(linux), all(quick), DelayedAck},
		{"delayed ACK, 200 ms", all(quick), all(quick), all(quick), all(windows), all(quick), DelayedAck},
		{"delayed ACK, every other request", all(quick), all(quick), all(quick), half, all(quick), DelayedAck},
		{"both", all(quick), all(linux), all(quick), all(2 * linux), all(linux), Both},
		{"slow handler", all(windows), all(windows), all(windows), all(windows), all(windows), OtherSlow},
		{"slow handler and Nagle", all(windows), all(windows + linux), all(windows), all(windows + linux), all(windows + linux), Nagle},
		{"one outlier", all(quick), append(all(quick), linux), all(quick), all(quick), all(quick), NoStall},
		{"two outliers in pieces", all(quick), all(quick), all(quick), append(all(quick), linux, linux), all(quick), NoStall},
		{"noise everywhere", half, half, half, half, half, NoStall},
		{"no timer", all(quick), ramp, all(quick), all(quick), all(quick), NoStall},
		{"too long for a timer", all(quick), all(1.5), all(quick), all(quick), all(quick), NoStall},
		{"no TCP_QUICKACK here, Nagle", all(quick), all(linux), nil, all(linux), all(linux), Nagle},
		{"no TCP_QUICKACK here", all(quick), all(quick), nil, all(quick), all(quick), NoStall},
		{"closes after each response", all(quick), nil, nil, nil, nil, NoStall},
		{"closes after each response, slowly", all(windows), nil, nil, nil, nil, OtherSlow},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := new(Report)
			for i, seconds := range [][]float64{test.e1, test.e2, test.e3, test.e4, test.e5} {
				result := Result{Experiment: experiments[i], Seconds: seconds}
				result.sum()
				r.Experiments = append(r.Experiments, result)
			}
			r.judge()
			require.Equal(t, test.want, r.Verdict, "%q", r.Evidence)
			require.NotEmpty(t, r.Evidence)
			require.Equal(t, r.Verdict != NoStall, r.Mend() != "")
		})
	}
}

func TestQuantile(t *testing.T) {
	values := []float64{5, 1, 4, 2, 3}
	for p, want := range map[float64]float64{0: 1, .2: 1, .5: 3, .9: 5, 1: 5} {
		require.InDelta(t, want, quantile(values, p), 0, "%v", p)
	}
	require.InDelta(t, 7, quantile([]float64{7}, .5), 0)
}

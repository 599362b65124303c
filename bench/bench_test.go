//go:build linux

package main

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/needed"
	"github.com/caddy-sockopt/caddy-sockopt/probe"
)

// TestQuick makes the short form of every row, with every system, into a directory
// of its own.
func TestQuick(t *testing.T) {
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	for _, p := range peers {
		if p.installed() {
			continue
		}
		needed.Missing(t, fmt.Sprintf("%s is not installed, of Debian's package %s", p.name, p.pkg))
	}
	before := descendants(os.Getpid())
	out := t.TempDir()
	require.NoError(t, command(t.Context(), []string{"-quick", "-pairs", "1", "-out", out}))
	require.Equal(t, before, descendants(os.Getpid()), "processes are left over")

	r, err := readRecord(out)
	require.NoError(t, err)
	require.Empty(t, r.Missing)
	for _, row := range rows {
		require.Contains(t, r.Rows, row.number)
		require.NotEmpty(t, r.cases(row.number), row.title)
	}
	require.Equal(t, experimentSystems, r.systems(1, keepAlive))
	require.Equal(t, clientSystems, r.systems(2, ""))
	require.Equal(t, backendSystems, r.systems(3, paste))
	for _, p := range protocols {
		require.ElementsMatch(t, caddySystems, r.systems(4, p.name))
		require.Subset(t, otherSystems, r.systems(4, p.name+allSystems))
		for _, peer := range []string{"nginx", "HAProxy", "Apache httpd", lighttpd} {
			require.Contains(t, r.systems(4, p.name+allSystems), peer)
			require.Positive(t, median(r.of(4, p.name+counting, peer, callsMeasure)), peer)
		}
	}
	for _, kase := range []string{smallBody, smallOneCore, smallNoMPTCP, smallTLS} {
		require.Subset(t, r.systems(5, kase), []string{stock, noOption, stockAgain, usualTen, dearTen}, kase)
	}
	for _, system := range []string{stock, auto, on, off} {
		require.Contains(t, r.systems(6, "1,000"), system)
	}
	for _, over := range []string{overPlain, overTLS} {
		for _, how := range []string{asItComes, noLimit} {
			kase := string(downloading(how, over))
			require.Equal(t, []string{stock, auto, buffered}, r.systems(7, overLoopback+": "+kase))
			require.NotEmpty(t, r.Notes[namesMeasure+" "+kase+" "+auto])
			t.Run(kase+" over the veth pair", func(t *testing.T) {
				if why := r.Notes[vethNote]; why != "" {
					needed.Missing(t, why)
				}
				require.Equal(t, []string{stock, auto, buffered}, r.systems(7, overVeth+": "+kase))
			})
		}
	}
	// The kernel moves the file wherever stock Caddy has it do so.
	require.Contains(t, r.Notes[namesMeasure+" "+string(downloading(noLimit, overPlain))+" "+auto], "sendfile")

	// The stalls are there, and the cures: tens of milliseconds against less than
	// a few.
	require.Greater(t, median(r.of(2, "", stock, secondsMeasure)), .03)
	require.Less(t, median(r.of(2, "", auto, secondsMeasure)), .01)
	require.Greater(t, median(r.of(3, paste, sockoptTransport, rateMeasure)), 5*median(r.of(3, paste, stockTransport, rateMeasure)))
	requireResults(t, out, r)
}

// requireResults holds RESULTS.md and its pictures to the record.
func requireResults(t *testing.T, dir string, r *record) {
	t.Helper()
	results := read(t, filepath.Join(dir, resultsFile))
	require.NotContains(t, results, "NaN")
	require.NotContains(t, results, "Inf")
	for _, row := range rows {
		require.Contains(t, results, fmt.Sprintf("\n## %d %s\n", row.number, row.title))
	}
	for _, v := range r.Versions {
		require.Contains(t, results, "| "+v.Name+" | "+v.Version+" |")
	}
	pictures := regexp.MustCompile(`\]\((\S+\.svg)\)`).FindAllStringSubmatch(results, -1)
	require.NotEmpty(t, pictures)
	for _, p := range pictures {
		decoder := xml.NewDecoder(strings.NewReader(read(t, filepath.Join(dir, p[1]))))
		for {
			_, err := decoder.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err, p[1])
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file) //nolint:gosec // of the test, or of this tree
	require.NoError(t, err)
	return string(text)
}

func TestCommandRefuses(t *testing.T) {
	for _, refused := range []struct{ name, flags, want string }{
		{"unknown row", "-rows 9", `-rows: "9" is not one of 1 The experiment of 2009;`},
		{"row by name", "-rows idle", `-rows: "idle" is not one of`},
		{"no pairs", "-pairs 0", "-pairs 0 is not at least 1"},
		{"unknown reaction", "-missing ignore", "-missing ignore is not fail or skip"},
		{"unknown flag", "-fast", "flag provided but not defined: -fast"},
	} {
		t.Run(refused.name, func(t *testing.T) {
			require.ErrorContains(t, command(t.Context(), strings.Fields(refused.flags)), refused.want)
		})
	}
	require.ErrorIs(t, command(t.Context(), []string{"-h"}), flag.ErrHelp)
}

func TestTallies(t *testing.T) {
	counted := tallies([]byte(`100  read(9<socket:[1]>, ""..., 4096) = 78
100  read(9<socket:[1]>,  <unfinished ...>
101  write(10<socket:[2]>, ""..., 500) = 500
100  <... read resumed>""..., 4096) = 22
100  read(9<socket:[1]>, 0xc0001, 4096)     = -1 EAGAIN (Resource temporarily unavailable)
100  read(9<socket:[1]>, ""..., 1)          = 1
100  write(4<anon_inode:[eventfd]>, ""..., 8) = 8
102  sendfile(9<socket:[1]>, 11</large.bin>, NULL, 65536) = 65536
102  accept4(3<socket:[3]>, {sa_family=AF_INET}, [16], SOCK_CLOEXEC) = 12<socket:[4]>
102  +++ exited with 0 +++
`))
	require.Equal(t, map[string]tally{
		"read":     {3, 100},
		"write":    {1, 500},
		"sendfile": {1, 65536},
		"accept4":  {1, 12},
	}, counted)
	require.Equal(t, "sendfile: 1 calls, 99.2 %; write: 1 calls, 0.8 %", sent(counted))
}

func TestFigures(t *testing.T) {
	for want, got := range map[string]string{
		"12,346":               number(12345.6),
		"123":                  number(123.4),
		"22.7":                 number(22.74),
		"0.98":                 number(.98),
		"100":                  number(100),
		"–":                    number(median(nil)),
		"0.00":                 signed(-.001),
		"+256":                 signed(256),
		"44ms":                 probe.Duration(.044),
		"91.88µs":              probe.Duration(.00009188),
		"0.98 / 0.990 / 1.00":  quartiles([]float64{1.01, .99, .98, 1, .9}),
		"0.85 / 0.910 / 0.94":  quartiles([]float64{1, .9, .7, .92}),
		"23.0":                 spread([]float64{23.01, 22.99, 23}),
		"5726 (4014 – 12,870)": spread([]float64{12870, 3814, 13224, 5726, 4014}),
		"≥ 0.98: **missed**, within the noise, 0.900 to 1.010": new(section).typicallyAtLeast("", []float64{1.01, .97, .96, .97, .9, .97}, .98),
		"≥ 0.96: met, within the noise, 0.900 to 1.010":        new(section).typicallyAtLeast("", []float64{1.01, .97, .96, .97, .9, .97}, .96),
		"≥ 0.99: **missed**":                                   new(section).typicallyAtLeast("", slices.Repeat([]float64{.98, .97}, 50), .99),
		"≥ 0.97: met":                                          new(section).typicallyAtLeast("", []float64{1.01, .97, .9}, .97),
		"≥ 0.98: met":                                          new(section).atLeast("", .98, .98),
		"≥ 0.98: **missed**":                                   new(section).atLeast("", .979, .98),
		"≤ 256: met":                                           new(section).atMost("", 256, 256),
		"≤ 256: **missed**, within the noise, +100 to +500":    new(section).typicallyAtMost("", []float64{100, 300, 310, 320, 330, 500}, make([]float64, 6), 256),
		"≤ 400: met, within the noise, +100 to +500":           new(section).typicallyAtMost("", []float64{100, 300, 310, 320, 330, 500}, make([]float64, 6), 400),
		"≤ 64.0: **missed**":                                   new(section).typicallyAtMost("", []float64{100, 300, 310, 320, 330, 500}, make([]float64, 6), 64),
		"≤ 0.01: **missed**":                                   new(section).atMost("", .02, .01),
		"[0.5]":                                                fmt.Sprint(ratios([]float64{1, 3}, []float64{2, 0})),
		"123457":                                               fmt.Sprint(round(123456.7)),
		"0.00123457":                                           fmt.Sprint(round(.001234567)),
	} {
		require.Equal(t, want, got)
	}
}

// TestConfidence holds the interval to the tables of the sign test.
func TestConfidence(t *testing.T) {
	for n, outermost := range map[int]int{5: 0, 6: 1, 8: 1, 9: 2, 12: 3, 20: 6, 100: 40} {
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(i + 1)
		}
		least, most := confidence(values)
		if outermost == 0 {
			require.True(t, math.IsNaN(least) && math.IsNaN(most))
			continue
		}
		require.Equal(t, []float64{float64(outermost), float64(n + 1 - outermost)}, []float64{least, most}, n)
	}
}

// TestEndLeavesNothing ends a process whose child ignores that its parent ends.
func TestEndLeavesNothing(t *testing.T) {
	require.NoError(t, adopt())
	before := descendants(os.Getpid())
	p, err := spawn(t.TempDir(), "sh", "-c", `(trap "" TERM; echo ready; while :; do sleep 60; done) & wait`)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return strings.Contains(p.output.String(), "ready") }, patience, 1e6)
	require.Len(t, p.pids(), 3)
	p.end()
	require.Equal(t, before, descendants(os.Getpid()))
}

func TestPortsDiffer(t *testing.T) {
	picked, err := ports(loopbackHost, 50)
	require.NoError(t, err)
	seen := make(map[int]bool)
	for _, port := range picked {
		require.Positive(t, port)
		require.False(t, seen[port])
		seen[port] = true
	}
}

func TestNamespace(t *testing.T) {
	n, err := newNamespace(t.Context())
	if errors.Is(err, errNotRoot) {
		needed.Missing(t, err.Error())
	}
	require.NoError(t, err)
	named := func() string {
		list, err := exec.CommandContext(t.Context(), "ip", "netns", "list").Output()
		require.NoError(t, err)
		return string(list)
	}
	require.Contains(t, named(), n.name)
	require.NoError(t, n.remove())
	require.NotContains(t, named(), n.name)
}

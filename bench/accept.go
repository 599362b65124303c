//go:build linux

package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

const (
	accepting work = "new connections"

	noOption  = "sockopt, 0 options"
	oneOption = "sockopt, 1 option"
	usualTen  = "sockopt, 10 usual options"
	costlyTen = "sockopt, 10 costly options"
)

// acceptSites have none, one and ten options.
func acceptSites() (sites []site) {
	for _, has := range []struct {
		system  string
		options []string
	}{
		{system: stock},
		{noOption, []string{}},
		{system: stockAgain},
		{oneOption, lab.TenUsual[:1]},
		{usualTen, lab.TenUsual},
		{costlyTen, lab.TenCostly},
	} {
		wrapper := ""
		if has.options != nil {
			// Some kernels refuse fastopen on a listener that speaks MPTCP.
			wrapper = "sockopt {\non_unsupported warn\n" + strings.Join(has.options, "\n") + "\n}"
		}
		sites = append(sites, site{work: accepting, system: has.system, Wrapper: wrapper, Directives: "echo_payload 100"})
	}
	return sites
}

const (
	shared  = "client and servers on all cores"
	ownCore = "Caddy on a core of its own"
	noMPTCP = "Caddy listens without MPTCP"
)

// measureAccept opens a connection for each request.
func measureAccept(ctx context.Context, b *bench) error {
	opening := bursts{protocol: http1, connections: burstSize, closing: true}
	if err := b.compare(ctx, 5, shared, b.few(25*b.pairs, 1), burstTurns, b.contenders[accepting], opening); err != nil {
		return err
	}
	_, last, err := cores()
	if err != nil {
		return err
	}
	for kase, wrap := range map[string][]string{
		ownCore: {"taskset", "--cpu-list", strconv.Itoa(last)},
		noMPTCP: {"env", "GODEBUG=multipathtcp=0"}, // which Go reads as it starts
	} {
		l := b.newLineup()
		_, err := l.startCaddy(acceptSites(), wrap...)
		if err == nil {
			err = b.compare(ctx, 5, kase, b.few(25*b.pairs, 1), burstTurns, l.pick(accepting, stock, noOption, stockAgain, usualTen, costlyTen), opening)
		}
		l.end()
		if err != nil {
			return err
		}
	}
	return nil
}

const acceptBar = .98

func reportAccept(r *record) section {
	var s section
	s.Text = fmt.Sprintf(`A connection for each request of 100 bytes, in bursts of %d connections, of which each Caddy has %d in a round, in turn. The usual options are
%s; the costly ones are
%s. "%s" is a second port without the plugin: the noise of this machine. The costly
options are a call of setsockopt each (%sgo test -run TestAcceptCounts%[6]s counts them); of %[6]sdscp%[6]s the kernel looks for the route anew.`,
		burstSize, burstTurns, listed(lab.TenUsual), listed(lab.TenCostly), stockAgain, "`")
	for _, kase := range []string{shared, ownCore, noMPTCP} {
		t := newTable("Caddy", "connections/s", "ratio to stock, quartiles of the pairs", "bar", "CPU µs each", "ratio to stock, quartiles")
		t.Title = fmt.Sprintf("%s, %d rounds:", kase, len(r.of(5, kase, stock, rateMeasure)))
		for _, system := range r.systems(5, kase) {
			ratio, judged := r.beside(5, kase, system, rateMeasure), "–"
			if !slices.Contains([]string{stock, stockAgain}, system) {
				judged = s.typicallyAtLeast("5, "+kase+", `"+system+"`: connections a second, of stock Caddy's", ratio, acceptBar)
			}
			t.add(system, number(lab.Median(r.of(5, kase, system, rateMeasure))), quartiles(ratio), judged,
				number(lab.Median(r.of(5, kase, system, costMeasure))), quartiles(r.beside(5, kase, system, costMeasure)))
		}
		s.Tables = append(s.Tables, t)
	}
	return s
}

// listed are options as they stand in a Caddyfile.
func listed(options []string) string { return "`" + strings.Join(options, "`, `") + "`" }

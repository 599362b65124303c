//go:build linux

package main

import (
	"context"
	"slices"
	"strings"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

const (
	accepting work = "new connections"

	noOption  = "sockopt, 0 options"
	oneOption = "sockopt, 1 option"
	usualTen  = "sockopt, 10 usual options"
	costlyTen = "sockopt, 10 costly options"

	// multipathOff holds for all listeners of a process.
	multipathOff = "multipath off"
)

// acceptSites have none, one and ten options, and those that all have.
func acceptSites(all ...string) (sites []site) {
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
			wrapper = "sockopt" + lab.Block(slices.Concat([]string{"on_unsupported warn"}, all, has.options)...)
		}
		sites = append(sites, site{work: accepting, system: has.system, Wrapper: wrapper, Directives: "echo_payload 100"})
	}
	return sites
}

const (
	shared  = "client and servers on all cores"
	ownCore = "Caddy on a core of its own"
)

// measureAccept opens a connection for each request.
func measureAccept(ctx context.Context, b *bench) error {
	opening := bursts{protocol: http1, connections: burstSize, closing: true}
	compare := func(kase string, l *lineup) error {
		return b.compare(ctx, 5, kase, b.few(25*b.pairs, 1), burstTurns, l.contenders[accepting], opening)
	}
	if err := compare(shared, b.lineup); err != nil {
		return err
	}
	for _, all := range [][]string{nil, {multipathOff}} {
		alone := b.newLineup()
		defer alone.end()
		err := onCore(true, func() error {
			_, err := alone.startCaddy(acceptSites(all...))
			return err
		})
		if err != nil {
			return err
		}
		if err := compare(strings.Join(append([]string{ownCore}, all...), ", "), alone); err != nil {
			return err
		}
	}
	return nil
}

const acceptBar, acceptCPUBar = .98, 1.02

func reportAccept(r *record) section {
	var s section
	s.compare(r, 5, acceptBar, acceptCPUBar)
	return s
}

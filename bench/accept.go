//go:build linux

package main

import (
	"context"
	"errors"
	"strings"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

const (
	accepting work = "new connections"

	noOption  = "sockopt, 0 options"
	oneOption = "sockopt, 1 option"
	usualTen  = "sockopt, 10 usual options"
	costlyTen = "sockopt, 10 costly options"

	// costlyAlone has no MPTCP, whose sockets pass each option on to their subflows.
	costlyAlone = costlyTen + ", multipath off"
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
		{costlyAlone, append([]string{"multipath off"}, lab.TenCostly...)},
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
)

// measureAccept opens a connection for each request.
func measureAccept(ctx context.Context, b *bench) error {
	alone := b.newLineup()
	defer alone.end()
	err := onCore(true, func() error {
		_, err := alone.startCaddy(acceptSites())
		return err
	})
	if err != nil {
		return err
	}
	opening := bursts{protocol: http1, connections: burstSize, closing: true}
	return errors.Join(
		b.compare(ctx, 5, shared, b.few(25*b.pairs, 1), burstTurns, b.contenders[accepting], opening),
		b.compare(ctx, 5, ownCore, b.few(25*b.pairs, 1), burstTurns, alone.contenders[accepting], opening),
	)
}

const acceptBar, acceptCPUBar = .98, 1.02

func reportAccept(r *record) section {
	var s section
	s.compare(r, 5, acceptBar, acceptCPUBar)
	return s
}

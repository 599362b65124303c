package stats

import (
	"context"
	"net/netip"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// openFresh is how long a walk serves those who scrape.
const openFresh = 5 * time.Second

var (
	openNow     = gaugeVec("open_connections", "Connections that are open now.", originLabels...)
	openLimited = gaugeVec("open_connections_limited", "Connections that are open now, by what keeps them from sending faster.",
		append([]string{"limited_by"}, originLabels...)...)
	openRTT = rttVec("open_rtt_seconds", "Smoothed round-trip times of the connections that are open now.")

	openConnections = &filled{vectors: []vector{openNow, openLimited, openRTT}, fill: fillOpen}
	walked          time.Time // when openConnections were; its mutex guards it
)

// fillOpen shows the open connections of origins that have metrics, unless the last walk is fresh enough.
func fillOpen(f *filled) {
	if time.Since(walked) < openFresh {
		return
	}
	f.reset()
	wanted := make(map[Origin]bool)
	registry.Lock()
	for origin, c := range registry.of {
		if c.configurations > 0 && c.metrics.Load() > 0 {
			wanted[origin] = true
		}
	}
	registry.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), openFresh)
	defer cancel()
	open, err := MeasureOpen(ctx, func(origin Origin) bool { return wanted[origin] }, func(netip.Addr) bool { return true }, false)
	if err != nil {
		return // another walk takes too long
	}
	walked = time.Now()
	for origin := range wanted { // those without a connection as well
		labels := origin.labels()
		openNow.WithLabelValues(labels[:]...)
		openRTT.WithLabelValues(labels[:]...)
		for _, limit := range Limits {
			openLimited.WithLabelValues(append([]string{string(limit)}, labels[:]...)...)
		}
	}
	for i := range open {
		labels := open[i].of.origin.labels()
		openNow.WithLabelValues(labels[:]...).Inc()
		openLimited.WithLabelValues(append([]string{string(open[i].LimitedBy)}, labels[:]...)...).Inc()
		if rtt, known := open[i].figure(socket.RTT); known {
			openRTT.WithLabelValues(labels[:]...).Observe(rtt)
		}
	}
}

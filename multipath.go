package sockopt

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// listenersMultipath is whether Go listens with MPTCP. It is a setting of the process,
// which Go reads from GODEBUG at each Listen.
var listenersMultipath multipathSetting

// multipathSetting follows the newest configuration. One without multipath off has what
// the environment says.
type multipathSetting struct {
	mu    sync.Mutex
	uses  []*multipathUse // the newest is last
	isOff bool            // GODEBUG is changed
}

// multipathUse is what one configuration says.
type multipathUse struct {
	config any // what identifies it
	off    bool
}

// follow makes the configuration of ctx the newest, until ctx ends: it fails to load, or
// another has replaced it. off makes its listeners open without MPTCP.
func (m *multipathSetting) follow(ctx caddy.Context, off bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var config any = ctx.GetMetricsRegistry() // each configuration has its own
	if i := slices.IndexFunc(m.uses, func(u *multipathUse) bool { return u.config == config }); i >= 0 {
		m.uses[i].off = m.uses[i].off || off
		m.apply()
		return
	}
	use := &multipathUse{config, off}
	m.uses = append(m.uses, use)
	m.apply()
	context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.uses = slices.DeleteFunc(m.uses, func(u *multipathUse) bool { return u == use })
		m.apply()
	})
}

// apply adds Go's setting to GODEBUG, whose last setting of a name counts, or removes it.
func (m *multipathSetting) apply() {
	off := len(m.uses) > 0 && m.uses[len(m.uses)-1].off
	if off == m.isOff {
		return
	}
	const name, setting = "GODEBUG", "multipathtcp=0"
	all := os.Getenv(name)
	if off {
		all = strings.TrimPrefix(all+","+setting, ",")
	} else {
		all = strings.TrimSuffix(strings.TrimSuffix(all, setting), ",")
	}
	if os.Setenv(name, all) == nil {
		m.isOff = off
	}
}

// saysMultipathOff reports whether a listener wrapper of the app says multipath off.
//
// Errors: another says multipath on.
func saysMultipathOff(app *caddyhttp.App) (bool, error) {
	servers := make(map[bool]string) // one by what it says
	for name, server := range app.Servers {
		for _, raw := range server.ListenerWrappersRaw {
			var w struct {
				Wrapper   string          `json:"wrapper"`
				Multipath json.RawMessage `json:"multipath"`
			}
			if json.Unmarshal(raw, &w) != nil || w.Wrapper != wrapperName {
				continue
			}
			switch string(w.Multipath) {
			case `true`, `"on"`:
				servers[true] = name
			case `false`, `"off"`:
				servers[false] = name
			}
		}
	}
	if len(servers) == 2 {
		return false, fmt.Errorf("multipath is on in server %s and off in server %s; it is one setting for all listeners of the process",
			servers[true], servers[false])
	}
	_, off := servers[false]
	return off, nil
}

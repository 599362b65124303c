package sockopt

import (
	"fmt"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// followMultipath makes Go listen as the listener wrappers say, before anything is tried
// on a listener of Go's. The first wrapper of a server speaks for those of all servers.
func (c *configuration) followMultipath(own *bool) (err error) {
	off := own != nil && !*own
	if c.http != nil {
		if c.askedMultipath {
			return nil
		}
		c.askedMultipath = true
		if off, err = saysMultipathOff(c.http); err != nil {
			return err
		}
	}
	configurations.Lock()
	defer configurations.Unlock()
	c.multipathOff = c.multipathOff || off
	applyMultipath()
	return nil
}

// multipathIsOff says that GODEBUG is changed. It is guarded by configurations.
var multipathIsOff bool

// applyMultipath makes Go listen as the newest configuration says; one without multipath
// off has what the environment says. Go reads its setting from GODEBUG at each Listen,
// where the last setting of a name counts.
func applyMultipath() {
	all := configurations.all
	off := len(all) > 0 && all[len(all)-1].multipathOff
	if off == multipathIsOff {
		return
	}
	const name, setting = "GODEBUG", "multipathtcp=0"
	value := os.Getenv(name)
	if off {
		value = strings.TrimPrefix(value+","+setting, ",")
	} else {
		value = strings.TrimSuffix(strings.TrimSuffix(value, setting), ",")
	}
	if os.Setenv(name, value) == nil {
		multipathIsOff = off
	}
}

// saysMultipathOff reports whether a listener wrapper of the app says multipath off.
//
// Errors: another says multipath on.
func saysMultipathOff(app *caddyhttp.App) (bool, error) {
	servers := make(map[bool]string) // one by what it says
	for name, server := range app.Servers {
		for _, w := range ours(server.ListenerWrappersRaw) {
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

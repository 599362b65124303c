package sockopt

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// followMultipath makes Go listen as the listener wrappers say, before anything is tried
// on a listener of Go's. The first wrapper of a server speaks for those of all servers.
//
// Errors: one says on and another off.
func (c *configuration) followMultipath(own *bool) error {
	on, off := c.multipath()
	if on != "" && off != "" {
		return fmt.Errorf("multipath is on in server %s and off in server %s; it is one setting for all listeners of the process", on, off)
	}
	configurations.Lock()
	defer configurations.Unlock()
	c.multipathOff = c.multipathOff || off != "" || own != nil && !*own
	applyMultipath()
	return nil
}

// saysMultipath returns a server whose listener wrapper has multipath on, and one where it is off.
func (c *configuration) saysMultipath() (on, off string) {
	says := map[string]*string{`true`: &on, `"on"`: &on, `false`: &off, `"off"`: &off}
	for name, members := range c.raw {
		var wrappers []wrapperJSON
		_ = json.Unmarshal(members["listener_wrappers"], &wrappers) // its errors are Caddy's to report
		for _, w := range wrappers {
			if server := says[string(w.Multipath)]; server != nil && w.Name == wrapperName {
				*server = name
			}
		}
	}
	return on, off
}

// multipathIsOff says that GODEBUG is changed. It is guarded by configurations.
var multipathIsOff bool

// applyMultipath makes Go listen as the newest configuration says; one without multipath off has what the environment
// says. Go reads its setting from GODEBUG at each Listen, where the last setting of a name counts.
func applyMultipath() {
	all := configurations.all
	off := len(all) > 0 && all[len(all)-1].multipathOff
	if off == multipathIsOff {
		return
	}
	const name, setting = "GODEBUG", "multipathtcp=0"
	value := strings.TrimSuffix(strings.TrimSuffix(os.Getenv(name), setting), ",")
	if off {
		value = strings.TrimPrefix(value+","+setting, ",")
	}
	if os.Setenv(name, value) == nil {
		multipathIsOff = off
	}
}

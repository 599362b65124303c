package sockopt

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
)

// followMultipath makes Go listen as the listener wrappers say, before anything is tried
// on a listener of Go's. The first wrapper of a server speaks for those of all servers.
//
// Errors: one says on and another off.
func (c *configuration) followMultipath(own *bool) error {
	on, off := c.saysMultipath(`true`, `"on"`), c.saysMultipath(`false`, `"off"`)
	if on != "" && off != "" {
		return fmt.Errorf("multipath is on in server %s and off in server %s; it is one setting for all listeners of the process", on, off)
	}
	configurations.Lock()
	defer configurations.Unlock()
	c.multipathOff = c.multipathOff || off != "" || own != nil && !*own
	applyMultipath()
	return nil
}

// saysMultipath returns a server whose listener wrapper has multipath in one of these words.
func (c *configuration) saysMultipath(words ...string) string {
	for name, members := range c.raw {
		var wrappers []wrapperJSON
		_ = json.Unmarshal(members["listener_wrappers"], &wrappers) // its errors are Caddy's to report
		if slices.ContainsFunc(wrappers, func(w wrapperJSON) bool { return w.Name == wrapperName && slices.Contains(words, string(w.Multipath)) }) {
			return name
		}
	}
	return ""
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

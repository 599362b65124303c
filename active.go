package sockopt

import (
	"cmp"
	"slices"
	"sync"
)

// activeListener is a listening address that a wrapper serves, as the admin API
// shows it.
type activeListener struct {
	Server   string      `json:"server"`
	Address  string      `json:"address"`
	QuickAck string      `json:"quickack"`
	Options  []effect    `json:"options"`
	Counters countersNow `json:"counters"`

	wrapper  *ListenerWrapper
	counters *counters
}

// active are the listeners of the running configuration and, while one takes
// over from another, of both.
var active struct {
	sync.Mutex
	listeners []*activeListener
}

func activate(l *activeListener) {
	active.Lock()
	defer active.Unlock()
	active.listeners = append(active.listeners, l)
}

// deactivate removes all listeners of a wrapper.
func deactivate(w *ListenerWrapper) {
	active.Lock()
	defer active.Unlock()
	active.listeners = slices.DeleteFunc(active.listeners, func(l *activeListener) bool { return l.wrapper == w })
}

// activeNow returns the active listeners with their counters at this moment, by
// server and address.
func activeNow() []activeListener {
	active.Lock()
	now := make([]activeListener, len(active.listeners))
	for i, l := range active.listeners {
		now[i] = *l
	}
	active.Unlock()
	for i := range now {
		now[i].Counters = now[i].counters.now()
	}
	slices.SortFunc(now, func(a, b activeListener) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Address, b.Address))
	})
	return now
}

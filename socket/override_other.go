//go:build !linux

package socket

import "slices"

// Overrides sets options. It restores none: elsewhere they cannot be read.
type Overrides struct {
	socket Socket
	set    []Override
}

// NewOverrides returns the overrides of a socket.
func NewOverrides(c Socket) *Overrides { return &Overrides{socket: c} }

// Retry does nothing: nothing is left alone.
func (*Overrides) Retry() {}

// Update sets the overrides of the latest hold.
func (o *Overrides) Update(holds []*Hold) {
	var next []Override
	if len(holds) > 0 {
		next = holds[len(holds)-1].Overrides
	}
	for _, old := range o.set {
		if !slices.ContainsFunc(next, func(v Override) bool { return v.Option.Is(old.Option) }) {
			old.Observer.Refused(o.socket, old.Option, ErrStaysSet)
		}
	}
	for _, v := range next {
		refused, _ := Set(o.socket, []Setting{v.Setting})
		for _, r := range refused {
			v.Observer.Refused(o.socket, r.Option, r.Err)
		}
	}
	o.set = next
}

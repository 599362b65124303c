package sockopt

import (
	"fmt"
	"runtime"

	"go.uber.org/zap"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// settings are what Options come to on this system.
type settings struct {
	of  map[phase][]socket.Setting
	ack socket.AckMode
}

// resolve tries every named option on scratch sockets of the kinds that it will
// meet in phases, and returns what is to be set in each. It warns of values
// that the kernel clamps.
//
// Errors name the option, its value, the reason and the mend. An option that
// this system or kernel refuses is only logged and left out where o says
// on_unsupported warn.
func (o Options) resolve(phases phase, log *zap.Logger) (settings, error) {
	s := settings{of: make(map[phase][]socket.Setting), ack: socket.AckOff}
	for _, r := range rows {
		if !r.isSet(&o) {
			continue
		}
		if r.phases&phases == 0 {
			return s, fmt.Errorf("%s cannot be set here; here it can be %s", r.name, names(o.lines(phases)))
		}
		if err := r.check(&o); err != nil {
			return s, fmt.Errorf("%s: %w", r.name, err)
		}
	}
	for _, r := range rows {
		if !r.isSet(&o) || r.option.Name == "" {
			continue
		}
		if err := r.try(&o, phases, log); err != nil {
			if o.OnUnsupported == nil || *o.OnUnsupported != unsupportedWarn {
				return s, fmt.Errorf("%w; leave the option out, or set on_unsupported warn", err)
			}
			log.Warn("option left out: this system refuses it", zap.String("option", r.name), zap.Error(err))
			r.unset(&o)
			continue
		}
		value, lasting := r.kernel(&o)
		if !lasting {
			continue
		}
		for _, p := range each(phases & r.phases) {
			s.of[p] = append(s.of[p], socket.Setting{Option: r.option, Value: value})
		}
	}
	switch {
	case o.QuickAck != nil:
		s.ack = *o.QuickAck
	case socket.QuickAck.Supported():
		s.ack = socket.AckAuto
	}
	return s, nil
}

// try sets the option on a scratch socket for each phase and compares the
// effective value with the requested one.
func (r row) try(o *Options, phases phase, log *zap.Logger) error {
	if !r.option.Supported() {
		return fmt.Errorf("%s %s: %s is not available on %s",
			r.name, r.text(o), r.option.Name, runtime.GOOS)
	}
	requested, _ := r.kernel(o)
	var effective int
	for _, p := range each(phases & r.phases) {
		var err error
		effective, err = socket.Try(p == listen, socket.Setting{Option: r.option, Value: requested})
		if err != nil {
			return fmt.Errorf("%s %s: this kernel refuses %s: %w",
				r.name, r.text(o), r.option.Name, err)
		}
	}
	r.compare(o, requested, effective, log)
	return nil
}

// compare warns of an effective value below the requested one.
func (r row) compare(o *Options, requested, read int, log *zap.Logger) {
	effective := read
	if r.doubled {
		effective /= 2
	}
	if r.sysctl == "" || effective >= requested {
		return
	}
	log.Warn(r.name+" is clamped by "+r.sysctl,
		zap.String("option", r.name),
		zap.String("requested", r.text(o)),
		zap.Stringer("effective", Size(effective)),
		zap.Int("getsockopt", read),
		zap.String("raise", "sysctl -w "+r.sysctl+"="+fmt.Sprint(requested)))
}

package sockopt

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"syscall"

	"go.uber.org/zap"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// settings are what Options come to on this system.
type settings struct {
	of        map[phase][]socket.Setting
	ack       socket.AckMode
	metrics   bool
	overrides []override // of the route phase
	effects   []effect
}

// effect is what the kernel made of one value that was named.
type effect struct {
	Option    string `json:"option"`
	Requested string `json:"requested"`

	// Effective is what the kernel made of the value, in the same unit: of a
	// buffer that it doubles, half.
	Effective string `json:"effective,omitempty"`

	// GetSockOpt is what getsockopt(2) reads, where that is a number.
	GetSockOpt *int64 `json:"getsockopt,omitempty"`

	// ClampedBy is what made the effective value smaller than the requested
	// one: the name of a sysctl, or "the kernel".
	ClampedBy string `json:"clamped_by,omitempty"`

	// NoEffect is why the value does nothing on this system, or nothing that lasts,
	// if so.
	NoEffect string `json:"no_effect,omitempty"`

	// Phases are those in which a raw option is set: the others refuse it.
	Phases []string `json:"phases,omitempty"`

	// LeftOut is why the option is not set, where on_unsupported is warn.
	LeftOut string `json:"left_out,omitempty"`
}

// resolve tries every named option on scratch sockets of the kinds that it will
// meet in phases, and returns what is to be set in each. It warns of values that
// the kernel clamps.
//
// Errors name the option, its value, the reason and the mend. An option that
// this system or kernel refuses is only logged and left out where o says
// on_unsupported warn.
func (o Options) resolve(phases phase, log *zap.Logger) (settings, error) {
	s := settings{of: make(map[phase][]socket.Setting), ack: socket.AckOff, effects: []effect{}}
	if err := o.check(phases); err != nil {
		return s, err
	}
	switch {
	case phases&(accept|dial) == 0:
		s.ack = "" // a route leaves it alone
	case o.QuickAck == nil && socket.QuickAck.Supported():
		s.ack = socket.AckAuto
	}
	if s.metrics = o.Metrics != nil && *o.Metrics; s.metrics && !socket.QuickAck.Supported() {
		return s, fmt.Errorf("metrics reads TCP_INFO, which is not available on %s; leave it out", runtime.GOOS)
	}
	for _, r := range rows {
		if !r.isSet(&o) || r.option.Name == "" {
			continue
		}
		for _, u := range r.uses(&o, r.option) {
			taken, effective, err := r.try(u, phases)
			switch {
			case err == nil:
			case o.OnUnsupported != nil && *o.OnUnsupported == unsupportedWarn:
				log.Warn("option left out: this system refuses it", zap.String("option", r.name), zap.Error(err))
				s.effects = append(s.effects, effect{Option: r.name, Requested: u.text, LeftOut: err.Error()})
				continue
			default:
				return s, fmt.Errorf("%w; leave the option out, or set on_unsupported warn", err)
			}
			e := r.effect(u, effective)
			if r.inert != nil {
				e.NoEffect = r.inert(effective, s.of[each(taken)[0]])
			}
			if r.repeats() {
				e.Phases = taken.names()
			}
			e.log(log)
			s.effects = append(s.effects, e)
			if u.upkeep {
				s.ack = *o.QuickAck
				continue
			}
			if taken&route != 0 {
				s.overrides = append(s.overrides, override{u.setting, socket.Saved{Value: effective, Fixed: true}})
			}
			for _, p := range each(taken) {
				s.of[p] = append(s.of[p], u.setting)
			}
		}
	}
	return s, nil
}

// check says which named value cannot be in these phases, whatever the system.
func (o Options) check(phases phase) error {
	for _, r := range rows {
		if !r.isSet(&o) {
			continue
		}
		if reason := r.barred(phases); reason != "" {
			return fmt.Errorf("%s %s; here it can be %s", r.name, reason, lineNames(o.lines(phases)))
		}
		for _, u := range r.uses(&o, r.option) {
			if u.err != nil {
				return fmt.Errorf("%s: %w", r.name, u.err)
			}
		}
	}
	return nil
}

// barred says why the option cannot be set in any of the phases, if it cannot.
func (r row) barred(phases phase) string {
	if r.phases&phases != 0 {
		return ""
	}
	var places []string
	for _, p := range each(r.phases) {
		places = append(places, phasePlaces[p])
	}
	return "cannot be set here, but " + list(places)
}

// phasePlaces say where an option of a phase is set.
var phasePlaces = map[phase]string{
	listen: "on listening sockets",
	accept: "on accepted connections",
	dial:   "on connections to backends",
	route:  "for the requests of a route",
}

// try sets the value on a scratch socket for each phase. It returns the phases
// that take it and the effective value. All must take it; of a raw option, of
// which nobody knows where it works, one.
func (r row) try(u use, phases phase) (taken phase, effective socket.Value, err error) {
	if !u.setting.Option.Supported() {
		return 0, effective, r.refusal(u, errors.ErrUnsupported)
	}
	for _, p := range each(phases & r.phases) {
		read, tryErr := socket.Try(p == listen, u.setting)
		if tryErr == nil {
			taken, effective = taken|p, read
			continue
		}
		if p == listen && isMissing(tryErr) {
			if _, plainErr := socket.Try(false, u.setting); plainErr == nil {
				tryErr = errors.Join(errOnlyMPTCP, tryErr)
			}
		}
		err = tryErr
	}
	if err != nil && (taken == 0 || !r.repeats()) {
		return 0, effective, r.refusal(u, err)
	}
	return taken, effective, nil
}

// refusal says why this system refuses a value, and what it would take.
func (r row) refusal(u use, err error) error {
	option := u.setting.Option.Name
	switch {
	case err == errors.ErrUnsupported:
		return fmt.Errorf("%s %s: %s is not available on %s", r.name, u.text, option, runtime.GOOS)
	case errors.Is(err, syscall.ENOENT) && r.bounds != "":
		return fmt.Errorf("%s %q: this kernel offers %s", r.name, u.text,
			strings.Join(strings.Fields(sysctl(r.bounds)), ", "))
	case errors.Is(err, syscall.EPERM) && r.capability != "":
		if r.permits != "" {
			return fmt.Errorf("%s %s: needs %s, unless %s names it: %s", r.name, u.text, r.capability, r.permits, sysctl(r.permits))
		}
		return fmt.Errorf("%s %s: needs %s", r.name, u.text, r.capability)
	case errors.Is(err, syscall.EINVAL) && r.takes != "":
		return fmt.Errorf("%s %s: the kernel takes %s", r.name, u.text, r.takes)
	case errors.Is(err, errOnlyMPTCP):
		return fmt.Errorf("%s %s: on this kernel listening sockets that speak MPTCP refuse %s; start Caddy with GODEBUG=multipathtcp=0",
			r.name, u.text, option)
	case isMissing(err) && r.since != "" && !kernelHas(r.since):
		return fmt.Errorf("%s %s: needs Linux %s, this is %s", r.name, u.text, r.since, socket.KernelRelease())
	}
	return fmt.Errorf("%s %s: this kernel refuses %s: %w", r.name, u.text, option, err)
}

// errOnlyMPTCP marks what the kernel refuses on MPTCP sockets, and on no others.
var errOnlyMPTCP = errors.New("MPTCP sockets refuse it")

// isMissing reports whether the kernel has no such option.
func isMissing(err error) bool {
	return errors.Is(err, syscall.ENOPROTOOPT) || errors.Is(err, syscall.EOPNOTSUPP)
}

// effect compares the effective value with the requested one.
func (r row) effect(u use, effective socket.Value) effect {
	e := effect{Option: r.name, Requested: u.text, Effective: u.text}
	if u.upkeep {
		return e // what a Conn keeps up, the kernel does not remember
	}
	if effective.Text == "" && runtime.GOOS == "linux" {
		number := effective.Number
		e.GetSockOpt = &number
	}
	if r.doubled {
		effective.Number /= 2
	}
	e.Effective = u.prefix + r.show(effective)
	if effective.Number < u.setting.Value.Number {
		e.ClampedBy = r.clampedBy
	}
	return e
}

// log warns of a value that was clamped, and informs of one that was rounded.
func (e effect) log(log *zap.Logger) {
	fields := []zap.Field{
		zap.String("option", e.Option),
		zap.String("requested", e.Requested),
		zap.String("effective", e.Effective),
		zap.Int64p("getsockopt", e.GetSockOpt),
	}
	if e.NoEffect != "" {
		log.Warn(e.Option+" has no effect", append(fields, zap.String("reason", e.NoEffect))...)
	}
	switch {
	case e.ClampedBy != "":
		log.Warn(e.Option+" is clamped by "+e.ClampedBy, fields...)
	case e.Effective != e.Requested:
		log.Info("the kernel rounds "+e.Option, fields...)
	}
}

package options

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"go.uber.org/zap"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
)

// Resolved are options as this system sets them.
type Resolved struct {
	// Settings of each phase.
	Settings map[Phase][]socket.Setting

	// Overrides are the settings of the route phase.
	Overrides []socket.Override

	// Ack is when connections acknowledge. Its mode is empty in the route phase, which
	// leaves it alone.
	Ack socket.AckOptions

	// Metrics says that TCP_INFO is read when a connection closes.
	Metrics bool

	// Effects has one line for each value.
	Effects []Effect
}

// Effect is what the kernel made of one value.
type Effect struct {
	Option    string `json:"option"`
	Requested string `json:"requested"`

	// Effective is what the kernel made of the value, in the same unit. For a
	// buffer it is half of what getsockopt reads, because the kernel doubles it.
	Effective string `json:"effective,omitempty"`

	// GetSockOpt is what getsockopt(2) reads, where that is a number.
	GetSockOpt *int64 `json:"getsockopt,omitempty"`

	// ClampedBy is what made the effective value smaller than the requested
	// one: the name of a sysctl, or "the kernel".
	ClampedBy string `json:"clamped_by,omitempty"`

	// NoEffect is why the value has no effect on this system, or no lasting one.
	NoEffect string `json:"no_effect,omitempty"`

	// Caution is what is likely to go wrong with the value.
	Caution string `json:"caution,omitempty"`

	// Phases are those in which a raw option is set: the others refuse it.
	Phases []string `json:"phases,omitempty"`

	// LeftOut is why the option is not set, where on_unsupported is warn.
	LeftOut string `json:"left_out,omitempty"`
}

// Resolve tries each option on scratch sockets, in each of the phases, and returns
// what to set. It warns about values that the kernel clamps.
//
// Errors name the option, its value, the reason and the fix. Where on_unsupported is
// warn, an option that this system or kernel refuses is logged and left out.
func (o *Options) Resolve(phases Phase, log *zap.Logger) (Resolved, error) {
	s := Resolved{Settings: make(map[Phase][]socket.Setting), Ack: socket.AckOptions{Mode: socket.AckOff}, Effects: []Effect{}}
	if err := o.check(phases); err != nil {
		return s, err
	}
	switch {
	case phases&(Accept|Dial) == 0:
		s.Ack.Mode = ""
	case o.QuickAck == nil && socket.QuickAck.Supported():
		s.Ack.Mode = socket.AckAuto
	}
	if s.Metrics = o.Metrics != nil && *o.Metrics; s.Metrics && !socket.QuickAck.Supported() {
		return s, fmt.Errorf("metrics reads TCP_INFO, which is not available on %s; leave it out", runtime.GOOS)
	}
	for _, r := range rows {
		if !r.isSet(o) || r.option.Name == "" {
			continue
		}
		for _, u := range r.uses(o, r.option) {
			if err := s.add(r, u, o, phases, log); err != nil {
				return s, err
			}
		}
	}
	s.exchange(log)
	return s, nil
}

// add tries one value and adds it.
func (s *Resolved) add(r row, u use, o *Options, phases Phase, log *zap.Logger) error {
	taken, effective, err := r.try(u, phases)
	if err != nil {
		if o.OnUnsupported == nil || *o.OnUnsupported != Warn {
			return fmt.Errorf("%w; leave the option out, or set on_unsupported warn", err)
		}
		log.Warn("option left out: this system refuses it", zap.String("option", r.name), zap.Error(err))
		s.Effects = append(s.Effects, Effect{Option: r.name, Requested: u.text, LeftOut: err.Error()})
		return nil
	}
	// The kernel does not keep TCP_QUICKACK: connections set it again and again.
	if r.option.Is(socket.QuickAck) && *o.QuickAck != socket.AckOff {
		s.Ack.Mode = *o.QuickAck
		s.Effects = append(s.Effects, Effect{Option: r.name, Requested: u.text, Effective: u.text})
		return nil
	}
	s.Ack.KeepDelayedAckMax = s.Ack.KeepDelayedAckMax || r.option.Is(socket.DelayedAckMax)
	e := r.effect(u, effective)
	if r.noEffect != nil {
		e.NoEffect = r.noEffect(effective, s.Settings[taken.each()[0]])
	}
	if r.repeats() {
		e.Phases = taken.names()
	}
	e.log(log)
	s.Effects = append(s.Effects, e)
	for _, p := range taken.each() {
		s.Settings[p] = append(s.Settings[p], u.setting)
	}
	if taken&Route != 0 {
		s.Overrides = append(s.Overrides, socket.Override{Setting: u.setting, Effective: effective})
	}
	return nil
}

// check says which value is not allowed in these phases, whatever the system.
func (o *Options) check(phases Phase) error {
	for _, r := range rows {
		if !r.isSet(o) {
			continue
		}
		if reason := r.barred(phases); reason != "" {
			return fmt.Errorf("%s %s; here it can be %s", r.name, reason, Names(o.Lines(phases)))
		}
		for _, u := range r.uses(o, r.option) {
			if u.err != nil {
				return fmt.Errorf("%s: %w", r.name, u.err)
			}
		}
	}
	return nil
}

// barred says why the option cannot be set in any of the phases, if it cannot.
func (r row) barred(phases Phase) string {
	if r.phases&phases != 0 {
		return ""
	}
	example := r.name
	if r.values() > 0 {
		example += " …"
	}
	return "cannot be set here, but " + list(r.phases.places(example))
}

// try sets the value on a scratch socket for each phase. It returns the phases
// that take it and the effective value. All phases of an option must take its value.
// A raw option may belong to any of them: one phase that takes it is enough.
func (r row) try(u use, phases Phase) (taken Phase, effective socket.Value, err error) {
	if !u.setting.Option.Supported() {
		return 0, effective, r.refusal(u, errors.ErrUnsupported)
	}
	for _, p := range (phases & r.phases).each() {
		read, tryErr := socket.Try(p == Listen, u.setting)
		if tryErr == nil {
			taken, effective = taken|p, read
			continue
		}
		if p == Listen && isMissing(tryErr) {
			if _, plainErr := socket.Try(false, u.setting); plainErr == nil {
				tryErr = errors.Join(errOnlyMPTCP, tryErr)
			}
		}
		err = tryErr
	}
	if err != nil && (taken == 0 || !r.repeats()) {
		return 0, effective, r.refusal(u, err)
	}
	// A raw option may stop the flow of data.
	if r.repeats() && taken&^Listen != 0 {
		if err := socket.Exchange([]socket.Setting{u.setting}); err != nil {
			return 0, effective, fmt.Errorf("%s %s: %w", r.name, u.text, err)
		}
	}
	return taken, effective, nil
}

// exchange warns about options that together stop the flow of data. cork is not among
// them: it ends with the response.
func (s *Resolved) exchange(log *zap.Logger) {
	for _, p := range (Accept | Dial | Route).each() {
		settings := slices.DeleteFunc(slices.Clone(s.Settings[p]), func(s socket.Setting) bool { return s.Option.Is(socket.Cork) })
		if len(settings) == 0 {
			continue
		}
		if err := socket.Exchange(settings); err != nil {
			var names []string
			for _, setting := range settings {
				names = append(names, rowOf(setting.Option).name)
			}
			log.Warn("these options together hold up data on a connection over loopback", zap.Strings("options", names), zap.Error(err))
		}
	}
}

// refusal says why this system refuses a value, and what it would take.
func (r row) refusal(u use, err error) error {
	option := u.setting.Option.Name
	switch {
	case err == errors.ErrUnsupported:
		return fmt.Errorf("%s %s: %s is not available on %s", r.name, u.text, option, runtime.GOOS)
	case errors.Is(err, syscall.ENOENT) && r.bounds != "":
		return fmt.Errorf("%s %q: this kernel offers %s", r.name, u.text,
			strings.Join(strings.Fields(socket.Sysctl(r.bounds)), ", "))
	case errors.Is(err, syscall.EPERM) && r.capabilities != nil:
		if r.permits != "" {
			return fmt.Errorf("%s %s: needs %s, unless %s lists it: %s", r.name, u.text, r.capability().Name, r.permits, socket.Sysctl(r.permits))
		}
		return fmt.Errorf("%s %s: needs %s", r.name, u.text, r.capability().Name)
	case errors.Is(err, syscall.EINVAL) && r.takes != "":
		return fmt.Errorf("%s %s: the kernel takes %s", r.name, u.text, r.takes)
	case errors.Is(err, errOnlyMPTCP):
		return fmt.Errorf("%s %s: on this kernel listening sockets that speak MPTCP refuse %s; start Caddy with GODEBUG=multipathtcp=0",
			r.name, u.text, option)
	case isMissing(err) && r.since != "" && !socket.KernelHas(r.since):
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
func (r row) effect(u use, effective socket.Value) Effect {
	e := Effect{Option: r.name, Requested: u.text}
	if effective.Text == "" && runtime.GOOS == "linux" {
		number := effective.Number
		e.GetSockOpt = &number
	}
	requested := u.setting.Value
	effective = r.option.AsSet(effective)
	e.Effective = u.prefix + r.show(effective)
	if effective.Number < requested.Number {
		e.ClampedBy = r.clampedBy
	}
	switch {
	case r.want() == wantSize && effective.Number > requested.Number:
		e.Caution = fmt.Sprintf("the kernel takes no less than %s%s", e.Effective, unitMeant(requested))
	case r.caution != nil:
		e.Caution = r.caution(requested)
	}
	return e
}

// log warns about a value that was clamped, and informs about one that was rounded.
func (e Effect) log(log *zap.Logger) {
	fields := []zap.Field{
		zap.String("option", e.Option),
		zap.String("requested", e.Requested),
		zap.String("effective", e.Effective),
		zap.Int64p("getsockopt", e.GetSockOpt),
	}
	if e.NoEffect != "" {
		log.Warn(e.Option+" has no effect", append(fields, zap.String("reason", e.NoEffect))...)
	}
	if e.Caution != "" {
		log.Warn(e.Option+": "+e.Caution, fields...)
	}
	switch {
	case e.Caution != "":
	case e.ClampedBy != "":
		log.Warn(e.Option+" is clamped by "+e.ClampedBy, fields...)
	case e.Effective != e.Requested:
		log.Info("the kernel rounds "+e.Option, fields...)
	}
}

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
	"github.com/caddy-sockopt/caddy-sockopt/socket/trial"
)

// Resolved are options as this system sets them.
type Resolved struct {
	// Settings of each phase.
	Settings map[Phase][]socket.Setting

	// Multipath says that MPTCP is dialed.
	Multipath bool

	// Overrides are the settings of the route or packet phase.
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

	// BeforeSYN says that connections to backends have it from their first packet on.
	BeforeSYN bool `json:"before_syn,omitempty"`

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
	o, err := o.named(log)
	if err != nil {
		return s, err
	}
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
		return s, fmt.Errorf("metrics reads what the kernel counts, which is not available on %s; leave it out", runtime.GOOS)
	}
	s.Multipath = o.dialsMultipath()
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

// SplitDial returns the settings of Dial for sockets that are not yet connected, and
// those for open connections, and marks the first in Effects.
func (s *Resolved) SplitDial() (before, after []socket.Setting) {
	if len(s.Settings[Dial]) == 0 {
		return nil, nil
	}
	before, after = trial.BeforeSYN(Dial.kind(s.Multipath), s.Settings[Dial])
	for _, setting := range before {
		name := rowOf(setting.Option).name
		for i := range s.Effects {
			if e := &s.Effects[i]; e.Option == name && e.LeftOut == "" {
				e.BeforeSYN = true
			}
		}
	}
	return before, after
}

func (o *Options) dialsMultipath() bool { return o.Multipath != nil && *o.Multipath }

// add tries one value and adds it.
func (s *Resolved) add(r row, u use, o *Options, phases Phase, log *zap.Logger) error {
	taken, effective, err := r.try(u, phases, s.Multipath)
	if err != nil {
		if o.OnUnsupported == nil || *o.OnUnsupported != Warn {
			return fmt.Errorf("%w; leave the option out, or set on_unsupported warn", err)
		}
		log.Warn("option left out: this system refuses it", Named(u.setting.Option), zap.Error(err))
		s.Effects = append(s.Effects, Effect{Option: r.name, Requested: u.text, LeftOut: err.Error()})
		return nil
	}
	// The kernel does not keep TCP_QUICKACK: connections set it again and again.
	if r.option.Is(socket.QuickAck) && *o.QuickAck != socket.AckOff {
		s.Ack.Mode = *o.QuickAck
		s.Effects = append(s.Effects, Effect{Option: r.name, Requested: u.text, Effective: u.text})
		return nil
	}
	s.Ack.KeepDelayedAckMax = s.Ack.KeepDelayedAckMax || u.setting.Option.Is(socket.DelayedAckMax)
	e := r.effect(u, effective)
	if r.caution != nil && e.Caution == "" {
		e.Caution = r.caution(u.setting, phases)
	}
	if r.noEffect != nil {
		e.NoEffect = r.noEffect(effective, s.Settings[taken.each()[0]])
	}
	if r.repeats() {
		e.Phases = taken.names()
	}
	e.log(log.With(Named(u.setting.Option)), r.capability())
	s.Effects = append(s.Effects, e)
	for _, p := range taken.each() {
		s.Settings[p] = append(s.Settings[p], u.setting)
	}
	if taken&(Route|Packet) != 0 {
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
func (r row) try(u use, phases Phase, multipath bool) (taken Phase, effective socket.Value, err error) {
	if !u.setting.Option.Supported() {
		return 0, effective, r.refusal(u, errors.ErrUnsupported)
	}
	for _, p := range (phases & r.phases).each() {
		kind := p.kind(multipath)
		read, tryErr := trial.Try(kind, u.setting)
		if tryErr == nil {
			taken, effective = taken|p, read
			continue
		}
		if plain, mptcp := plain[kind]; mptcp && isMissing(tryErr) {
			if _, plainErr := trial.Try(plain, u.setting); plainErr == nil {
				tryErr = errors.Join(onlyMPTCP[p], tryErr)
			}
		}
		// A connection may refuse for another reason what the listening socket refuses for MPTCP.
		if !errors.Is(err, onlyMPTCP[Listen]) {
			err = tryErr
		}
	}
	if err != nil && (taken == 0 || !r.repeats()) {
		return 0, effective, r.refusal(u, err)
	}
	// A raw option may stop the flow of data.
	if r.repeats() && taken&(Accept|Dial|Route) != 0 {
		if err := trial.Exchange([]socket.Setting{u.setting}); err != nil {
			return 0, effective, fmt.Errorf("%s %s: %w", r.name, u.text, err)
		}
	}
	return taken, effective, nil
}

// kind returns the scratch socket on which options of a phase are tried.
func (p Phase) kind(multipath bool) trial.Kind {
	if p == Dial && multipath {
		return trial.DialedMPTCP
	}
	return map[Phase]trial.Kind{
		Listen: trial.Listener, Accept: trial.Accepted, Dial: trial.Dialed, Route: trial.Accepted, Packet: trial.Datagram,
	}[p]
}

// plain are the scratch sockets of TCP in place of those of MPTCP.
var plain = map[trial.Kind]trial.Kind{trial.Listener: trial.PlainListener, trial.DialedMPTCP: trial.Dialed}

// exchange warns about options that together stop the flow of data. cork is not among
// them: it ends with the response. Nor is interface: loopback is another.
func (s *Resolved) exchange(log *zap.Logger) {
	for _, p := range (Accept | Dial | Route).each() {
		settings := slices.DeleteFunc(slices.Clone(s.Settings[p]), func(s socket.Setting) bool {
			return s.Option.Is(socket.Cork) || s.Option.Is(socket.Interface)
		})
		if len(settings) == 0 {
			continue
		}
		if err := trial.Exchange(settings); err != nil {
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
			strings.ReplaceAll(socket.Sysctl(r.bounds), " ", ", "))
	case errors.Is(err, syscall.EPERM) && r.capabilities != nil:
		if r.permits != "" {
			return fmt.Errorf("%s %s: needs %s, unless %s lists it: %s", r.name, u.text, r.capabilityNames(), r.permits, socket.Sysctl(r.permits))
		}
		return fmt.Errorf("%s %s: needs %s", r.name, u.text, r.capabilityNames())
	case errors.Is(err, syscall.EINVAL) && r.takes != "":
		return fmt.Errorf("%s %s: the kernel takes %s", r.name, u.text, r.takes)
	case errors.Is(err, syscall.ENODEV):
		return fmt.Errorf("%s %s: this system has no such interface", r.name, u.text)
	case r.option.Is(socket.Multipath) && u.setting.Value.Number == 0:
		return fmt.Errorf("%s %s: listening sockets speak MPTCP here; start Caddy with GODEBUG=multipathtcp=0", r.name, u.text)
	case r.option.Is(socket.Multipath):
		return fmt.Errorf("%s %s: this system does not speak MPTCP; %s has to be 1", r.name, u.text, r.bounds)
	case errors.Is(err, onlyMPTCP[Dial]):
		return fmt.Errorf("%s %s: MPTCP connections to backends refuse %s; leave multipath out", r.name, u.text, option)
	case errors.Is(err, onlyMPTCP[Listen]):
		return fmt.Errorf("%s %s: on this kernel listening sockets that speak MPTCP refuse %s: %s, or start Caddy with GODEBUG=multipathtcp=0",
			r.name, u.text, option, r.needsMPTCP())
	case isMissing(err) && r.since != "" && !socket.KernelHas(r.since):
		return fmt.Errorf("%s %s: needs Linux %s, this is %s", r.name, u.text, r.since, socket.KernelRelease())
	}
	return fmt.Errorf("%s %s: this kernel refuses %s: %w", r.name, u.text, option, err)
}

// needsMPTCP is what it takes where listening MPTCP sockets refuse the option.
func (r row) needsMPTCP() string {
	if !r.tooOldForMPTCP() {
		return "needs multipath off"
	}
	return "needs Linux " + r.sinceMPTCP + ", or multipath off"
}

// tooOldForMPTCP reports whether this kernel is older than the first whose listening MPTCP
// sockets have the option.
func (r row) tooOldForMPTCP() bool { return r.sinceMPTCP != "" && !socket.KernelHas(r.sinceMPTCP) }

// onlyMPTCP marks, by phase, what the kernel refuses on MPTCP sockets, and on no others.
var onlyMPTCP = map[Phase]error{
	Listen: errors.New("listening MPTCP sockets refuse it"),
	Dial:   errors.New("dialed MPTCP sockets refuse it"),
}

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
	effective = u.setting.Option.AsSet(effective)
	e.Effective = u.prefix + r.show(effective)
	if effective.Number < requested.Number {
		e.ClampedBy = r.clampedBy
	}
	if r.want() == wantSize && effective.Number > requested.Number {
		e.Caution = fmt.Sprintf("the kernel takes no less than %s%s", e.Effective, unitMeant(requested))
	}
	return e
}

// Live returns the effects of settings of one phase, with what the socket of c has now.
func (s *Resolved) Live(p Phase, c syscall.Conn) []Effect {
	live := slices.Clone(s.Effects)
	settings := s.Settings[p]
	for i, e := range live {
		if e.LeftOut != "" {
			continue
		}
		setting := settings[0]
		settings = settings[1:]
		value, err := socket.Get(c, setting.Option)
		if err != nil {
			continue
		}
		r := rowOf(setting.Option)
		u := use{text: e.Requested, setting: setting}
		if r.repeats() {
			u.prefix = e.Requested[:strings.LastIndex(e.Requested, " ")+1]
		}
		now := r.effect(u, value)
		live[i].Effective, live[i].GetSockOpt, live[i].ClampedBy = now.Effective, now.GetSockOpt, now.ClampedBy
	}
	return live
}

// log warns about a value that was clamped, where only a capability helps if there is
// one, and informs about one that was rounded.
func (e Effect) log(log *zap.Logger, unclamps *Capability) {
	fields := []zap.Field{
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
	case e.ClampedBy != "" && unclamps != nil:
		log.Warn(e.Option+" is clamped by "+e.ClampedBy+": raise that, or give Caddy "+unclamps.Name+"; nothing else helps", fields...)
	case e.ClampedBy != "":
		log.Warn(e.Option+" is clamped by "+e.ClampedBy, fields...)
	case e.Effective != e.Requested:
		log.Info("the kernel rounds "+e.Option, fields...)
	}
}

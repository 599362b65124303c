package options

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"go.uber.org/zap"

	"github.com/caddy-sockopt/caddy-sockopt/socket"
	"github.com/caddy-sockopt/caddy-sockopt/socket/trial"
)

// Resolved are options as this system sets them.
type Resolved struct {
	Settings     map[Phase][]socket.Setting
	Overrides    []socket.Override // the settings of Route or Packet
	Multipath    bool              // whether MPTCP is dialed
	Metrics      bool              // whether TCP_INFO is read when a connection closes
	WithoutPeers bool              // whether the addresses of peers that wait are not remembered
	Effects      []Effect          // of each value

	// Ack is when connections acknowledge. Its mode is empty in the route phase, which leaves it alone.
	Ack socket.AckOptions
}

// Effect is what the kernel made of one value.
type Effect struct {
	Option    string `json:"option"`
	Requested string `json:"requested"`

	// Effective is what the kernel made of the value, in the same unit, and GetSockOpt what
	// getsockopt(2) reads, where that is a number: twice as much for a buffer.
	Effective  string `json:"effective,omitempty"`
	GetSockOpt *int64 `json:"getsockopt,omitempty"`

	// ClampedBy is what made the effective value smaller than the requested one: the name of a sysctl, or "the kernel".
	ClampedBy string `json:"clamped_by,omitempty"`

	NoEffect string `json:"no_effect,omitempty"` // why the value does nothing here, or nothing that lasts
	Caution  string `json:"caution,omitempty"`   // what is likely to go wrong with it
	LeftOut  string `json:"left_out,omitempty"`  // why it is not set, where on_unsupported is warn

	Phases    []string `json:"phases,omitempty"`     // in which a raw option is set: the others refuse it
	BeforeSYN bool     `json:"before_syn,omitempty"` // connections to backends have it from their first packet on

	setting socket.Setting // what is requested
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
	s.WithoutPeers = o.Peers != nil && !*o.Peers
	s.Multipath = o.Multipath != nil && *o.Multipath
	for _, r := range rows {
		if !r.isSet(o) || r.option.Name == "" {
			continue
		}
		for _, e := range r.effects(o) {
			if err := s.add(r, e, o, phases, log); err != nil {
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
	before, after = trial.BeforeSYN(Dial.each()[0].scratchIn(s.Multipath), s.Settings[Dial])
	for i := range s.Effects {
		e := &s.Effects[i]
		e.BeforeSYN = e.LeftOut == "" && slices.ContainsFunc(before, func(s socket.Setting) bool { return s.Option.Is(e.setting.Option) })
	}
	return before, after
}

// add tries one value and adds it.
func (s *Resolved) add(r row, e Effect, o *Options, phases Phase, log *zap.Logger) error {
	taken, effective, err := r.try(e, phases, s.Multipath)
	if err != nil {
		if o.OnUnsupported == nil || *o.OnUnsupported != Warn {
			return fmt.Errorf("%w; leave the option out, or set on_unsupported warn", err)
		}
		log.Warn("option left out: this system refuses it", Named(e.setting.Option), zap.Error(err))
		e.LeftOut = err.Error()
		s.Effects = append(s.Effects, e)
		return nil
	}
	// The kernel does not keep TCP_QUICKACK: connections set it again and again.
	if r.option.Is(socket.QuickAck) && *o.QuickAck != socket.AckOff {
		s.Ack.Mode, e.Effective = *o.QuickAck, e.Requested
		s.Effects = append(s.Effects, e)
		return nil
	}
	s.Ack.KeepDelayedAckMax = s.Ack.KeepDelayedAckMax || r.option.Is(socket.DelayedAckMax)
	e.measure(r, effective)
	switch requested := e.setting.Value; {
	case r.want == wantSize && e.setting.Option.AsSet(effective).Number > requested.Number:
		e.Caution = fmt.Sprintf("the kernel takes no less than %s%s", e.Effective, unitMeant(requested))
	case strings.HasPrefix(r.name, "keepalive_") && o.KeepAlive != nil && !*o.KeepAlive:
		e.Caution = "it has no effect, since keepalive is off"
	default:
		for _, caution := range r.cautions {
			e.Caution = cmp.Or(e.Caution, caution(requested.Number, phases))
		}
		if e.Caution != "" && r.want == wantSize {
			e.Caution += unitMeant(requested)
		}
	}
	if r.noEffect != nil {
		e.NoEffect = r.noEffect(effective, s.Settings[taken.each()[0].Phase])
	}
	if r.repeats() {
		e.Phases = taken.names()
	}
	e.log(log, r.capability())
	s.Effects = append(s.Effects, e)
	for _, p := range taken.each() {
		s.Settings[p.Phase] = append(s.Settings[p.Phase], e.setting)
	}
	if taken&(Route|Packet) != 0 {
		s.Overrides = append(s.Overrides, socket.Override{Setting: e.setting, Effective: effective})
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
		if err := r.check(o); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
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
	if r.words > 0 {
		example += " …"
	}
	return "cannot be set here, but " + r.phases.where(example)
}

// try sets the value on a scratch socket for each phase. It returns the phases
// that take it and the effective value. All phases of an option must take its value.
// A raw option may belong to any of them: one phase that takes it is enough.
func (r row) try(e Effect, phases Phase, multipath bool) (taken Phase, effective socket.Value, err error) {
	if !e.setting.Option.Supported() {
		return 0, effective, r.refusal(e, errors.ErrUnsupported, 0)
	}
	var onlyMPTCP Phase // where the kernel refuses it on MPTCP sockets, and on no others
	for _, p := range (phases & r.phases).each() {
		scratch := p.scratchIn(multipath)
		read, tryErr := trial.Try(scratch, e.setting)
		if tryErr == nil {
			taken, effective = taken|p.Phase, read
			continue
		}
		err = tryErr
		if plain, mptcp := plain[scratch]; mptcp && isMissing(err) {
			if _, plainErr := trial.Try(plain, e.setting); plainErr == nil {
				onlyMPTCP |= p.Phase
			}
		}
	}
	if err != nil && (taken == 0 || !r.repeats()) {
		return 0, effective, r.refusal(e, err, onlyMPTCP)
	}
	// A raw option may stop the flow of data.
	if r.repeats() && taken&(Accept|Dial|Route) != 0 {
		if err := trial.Exchange([]socket.Setting{e.setting}); err != nil {
			return 0, effective, fmt.Errorf("%s %s: %w", r.name, e.Requested, err)
		}
	}
	return taken, effective, nil
}

// scratchIn returns the scratch socket on which options of the phase are tried.
func (p phase) scratchIn(multipath bool) trial.Kind {
	if p.Phase == Dial && multipath {
		return trial.DialedMPTCP
	}
	return p.scratch
}

// plain are the scratch sockets of TCP in place of those of MPTCP.
var plain = map[trial.Kind]trial.Kind{trial.Listener: trial.PlainListener, trial.DialedMPTCP: trial.Dialed}

// exchange warns about options that together stop the flow of data. cork is not among them: it ends with the
// response. Nor is interface: loopback is another. Nor is the pacing_rate of a route, which is to hold data up.
func (s *Resolved) exchange(log *zap.Logger) {
	for _, p := range (Accept | Dial | Route).each() {
		settings := slices.DeleteFunc(slices.Clone(s.Settings[p.Phase]), func(s socket.Setting) bool {
			return s.Option.Is(socket.Cork) || s.Option.Is(socket.Interface) || p.Phase == Route && s.Option.Is(socket.PacingRate)
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
func (r row) refusal(e Effect, err error, onlyMPTCP Phase) error {
	option, value, because := e.setting.Option.Name, e.Requested, fmt.Errorf
	switch {
	case err == errors.ErrUnsupported:
		err = because("%s is not available on %s", option, runtime.GOOS)
	case onlyMPTCP&Listen != 0: // a connection may refuse it for another reason
		err = because("on this kernel listening sockets that speak MPTCP refuse %s: %s, or start Caddy with GODEBUG=multipathtcp=0",
			option, r.needsMPTCP())
	case onlyMPTCP != 0:
		err = because("MPTCP connections to backends refuse %s; leave multipath out", option)
	case errors.Is(err, syscall.ENOENT) && r.bounds != "":
		offered := readable(r.bounds)
		if names := socket.Sysctl(r.bounds); names != "" {
			offered = strings.ReplaceAll(names, " ", ", ")
		}
		if lower := strings.ToLower(value); slices.Contains(strings.Split(offered, ", "), lower) {
			offered += " (did you mean " + lower + "?)"
		}
		value = strconv.Quote(value)
		err = because("this kernel offers %s", offered)
	case errors.Is(err, syscall.EPERM) && r.permits != "":
		err = because("needs %s, which this user lacks, unless %s lists it: %s", r.capabilityNames(), r.permits, readable(r.permits))
	case errors.Is(err, syscall.EPERM) && r.capabilities != nil:
		err = because("needs %s, which this user lacks", r.capabilityNames())
	case errors.Is(err, syscall.EINVAL) && r.takes != "":
		err = because("the kernel takes %s", r.takes)
	case errors.Is(err, syscall.ENODEV):
		err = because("this system has no such interface")
	case r.option.Is(socket.Multipath) && e.setting.Value.Number == 0:
		err = because("listening sockets speak MPTCP here; start Caddy with GODEBUG=multipathtcp=0")
	case r.option.Is(socket.Multipath):
		err = because("this system does not speak MPTCP; %s has to be 1", r.bounds)
	case isMissing(err) && r.since != "" && !socket.KernelHas(r.since):
		err = because("needs Linux %s, this is %s", r.since, socket.KernelRelease())
	default:
		err = because("this kernel refuses %s: %w", option, err)
	}
	return fmt.Errorf("%s %s: %w", r.name, value, err)
}

// readable returns the value of a kernel parameter, as text for people.
func readable(sysctl string) string {
	return cmp.Or(socket.Sysctl(sysctl), "what "+sysctl+" says, which cannot be read here")
}

// needsMPTCP is what it takes where listening MPTCP sockets refuse the option.
func (r row) needsMPTCP() string {
	if !r.tooOldForMPTCP() || r.sinceMPTCP == neverMPTCP {
		return "needs multipath off"
	}
	return "needs Linux " + r.sinceMPTCP + ", or multipath off"
}

// tooOldForMPTCP reports whether this kernel is older than any whose listening MPTCP sockets have the option.
func (r row) tooOldForMPTCP() bool {
	return r.sinceMPTCP == neverMPTCP || r.sinceMPTCP != "" && !socket.KernelHas(r.sinceMPTCP)
}

// isMissing reports whether the kernel has no such option.
func isMissing(err error) bool {
	return errors.Is(err, syscall.ENOPROTOOPT) || errors.Is(err, syscall.EOPNOTSUPP)
}

// measure compares the effective value with the requested one.
func (e *Effect) measure(r row, effective socket.Value) {
	e.GetSockOpt, e.ClampedBy = nil, ""
	if effective.Text == "" && runtime.GOOS == "linux" {
		e.GetSockOpt = new(effective.Number)
	}
	effective = e.setting.Option.AsSet(effective)
	e.Effective = r.show(effective)
	if r.repeats() { // its numbers precede the value
		e.Effective = e.Requested[:1+strings.LastIndex(e.Requested, " ")] + e.Effective
	}
	if effective.Number < e.setting.Value.Number {
		e.ClampedBy = r.clampedBy
	}
}

// Live returns the effects with what the socket of c has now.
func (s *Resolved) Live(c syscall.Conn) []Effect {
	live := slices.Clone(s.Effects)
	for i := range live {
		e := &live[i]
		if value, err := socket.Get(c, e.setting.Option); err == nil && e.LeftOut == "" {
			e.measure(rowOf(e.setting.Option), value)
		}
	}
	return live
}

// log warns about a value that was clamped, where only a capability helps if there is
// one, and informs about one that was rounded.
func (e Effect) log(log *zap.Logger, unclamps *Capability) {
	log = log.With(Named(e.setting.Option), zap.String("requested", e.Requested),
		zap.String("effective", e.Effective), zap.Int64p("getsockopt", e.GetSockOpt))
	if e.NoEffect != "" {
		log.Warn(e.Option+" has no effect", zap.String("reason", e.NoEffect))
	}
	switch {
	case e.Caution != "":
		log.Warn(e.Option + ": " + e.Caution)
	case e.ClampedBy != "" && unclamps != nil:
		log.Warn(e.Option + " is clamped by " + e.ClampedBy + ": raise that, or give Caddy " + unclamps.Name + "; nothing else helps")
	case e.ClampedBy != "":
		log.Warn(e.Option + " is clamped by " + e.ClampedBy)
	case e.Effective != e.Requested:
		log.Info("the kernel rounds " + e.Option)
	}
}

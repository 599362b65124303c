package socket

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Numbers of Linux 6.15, from its include/uapi/linux/tcp.h, and of 6.3, from in.h.
const (
	tcpRTOMaxMS    = 44
	tcpRTOMinUS    = 45
	tcpDelackMaxUS = 46

	ipLocalPortRange = 51
)

// The options by their numbers on Linux. An option without a line in another
// system's numbers file is unsupported there.
var (
	NoDelay           = Option{"TCP_NODELAY", number{level: unix.IPPROTO_TCP, name: unix.TCP_NODELAY}}
	QuickAck          = Option{"TCP_QUICKACK", number{level: unix.IPPROTO_TCP, name: unix.TCP_QUICKACK}}
	DelayedAckMax     = Option{"TCP_DELACK_MAX_US", number{level: unix.IPPROTO_TCP, name: tcpDelackMaxUS}}
	NotSentLowat      = Option{"TCP_NOTSENT_LOWAT", number{level: unix.IPPROTO_TCP, name: unix.TCP_NOTSENT_LOWAT}}
	Cork              = Option{"TCP_CORK", number{level: unix.IPPROTO_TCP, name: unix.TCP_CORK}}
	BusyPoll          = Option{"SO_BUSY_POLL", number{level: unix.SOL_SOCKET, name: unix.SO_BUSY_POLL}}
	RecvBuffer        = Option{"SO_RCVBUF", number{level: unix.SOL_SOCKET, name: unix.SO_RCVBUF, force: unix.SO_RCVBUFFORCE, lock: recvLock}}
	SendBuffer        = Option{"SO_SNDBUF", number{level: unix.SOL_SOCKET, name: unix.SO_SNDBUF, force: unix.SO_SNDBUFFORCE, lock: sendLock}}
	Congestion        = Option{"TCP_CONGESTION", number{level: unix.IPPROTO_TCP, name: unix.TCP_CONGESTION, form: text}}
	PacingRate        = Option{"SO_MAX_PACING_RATE", number{level: unix.SOL_SOCKET, name: unix.SO_MAX_PACING_RATE, form: long}}
	WindowClamp       = Option{"TCP_WINDOW_CLAMP", number{level: unix.IPPROTO_TCP, name: unix.TCP_WINDOW_CLAMP}}
	MaxSegment        = Option{"TCP_MAXSEG", number{level: unix.IPPROTO_TCP, name: unix.TCP_MAXSEG}}
	ThinStream        = Option{"TCP_THIN_LINEAR_TIMEOUTS", number{level: unix.IPPROTO_TCP, name: unix.TCP_THIN_LINEAR_TIMEOUTS}}
	KeepAlive         = Option{"SO_KEEPALIVE", number{level: unix.SOL_SOCKET, name: unix.SO_KEEPALIVE}}
	KeepAliveIdle     = Option{"TCP_KEEPIDLE", number{level: unix.IPPROTO_TCP, name: unix.TCP_KEEPIDLE}}
	KeepAliveInterval = Option{"TCP_KEEPINTVL", number{level: unix.IPPROTO_TCP, name: unix.TCP_KEEPINTVL}}
	KeepAliveCount    = Option{"TCP_KEEPCNT", number{level: unix.IPPROTO_TCP, name: unix.TCP_KEEPCNT}}
	UserTimeout       = Option{"TCP_USER_TIMEOUT", number{level: unix.IPPROTO_TCP, name: unix.TCP_USER_TIMEOUT}}
	Linger            = Option{"SO_LINGER", number{level: unix.SOL_SOCKET, name: unix.SO_LINGER, form: linger}}
	FinTimeout        = Option{"TCP_LINGER2", number{level: unix.IPPROTO_TCP, name: unix.TCP_LINGER2}}
	RTOMin            = Option{"TCP_RTO_MIN_US", number{level: unix.IPPROTO_TCP, name: tcpRTOMinUS}}
	RTOMax            = Option{"TCP_RTO_MAX_MS", number{level: unix.IPPROTO_TCP, name: tcpRTOMaxMS}}
	TrafficClass      = Option{"IP_TOS, IPV6_TCLASS", number{level: unix.IPPROTO_IP, name: unix.IP_TOS, ipv6: unix.IPV6_TCLASS}}
	TTL               = Option{"IP_TTL, IPV6_UNICAST_HOPS", number{level: unix.IPPROTO_IP, name: unix.IP_TTL, ipv6: unix.IPV6_UNICAST_HOPS}}
	Priority          = Option{"SO_PRIORITY", number{level: unix.SOL_SOCKET, name: unix.SO_PRIORITY}}
	Mark              = Option{"SO_MARK", number{level: unix.SOL_SOCKET, name: unix.SO_MARK}}
	Interface         = Option{"SO_BINDTODEVICE", number{level: unix.SOL_SOCKET, name: unix.SO_BINDTODEVICE, form: text}}
	LocalPortRange    = Option{"IP_LOCAL_PORT_RANGE", number{level: unix.IPPROTO_IP, name: ipLocalPortRange}}
	BindAddressNoPort = Option{"IP_BIND_ADDRESS_NO_PORT", number{level: unix.IPPROTO_IP, name: unix.IP_BIND_ADDRESS_NO_PORT}}
	SynCount          = Option{"TCP_SYNCNT", number{level: unix.IPPROTO_TCP, name: unix.TCP_SYNCNT}}
	Multipath         = Option{"IPPROTO_MPTCP", number{form: multipath}}
	Backlog           = Option{"listen(2)", number{form: backlog}}
	DeferAccept       = Option{"TCP_DEFER_ACCEPT", number{level: unix.IPPROTO_TCP, name: unix.TCP_DEFER_ACCEPT}}
	FastOpen          = Option{"TCP_FASTOPEN", number{level: unix.IPPROTO_TCP, name: unix.TCP_FASTOPEN}}
)

// Raw is the option of any level and number that takes an int.
func Raw(level, name int) Option {
	return Option{fmt.Sprintf("level %d option %d", level, name), number{level: level, name: name}}
}

// Numbered reports whether setsockopt(2) has the option under these numbers.
func (o Option) Numbered(level, name int) bool {
	return name != 0 && (level == o.level && name == o.name || level == unix.IPPROTO_IPV6 && name == o.ipv6)
}

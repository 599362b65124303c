//go:build !linux

package socket

import (
	"fmt"
	"net"
	"time"
)

// The options that net.TCPConn has methods for, and, without a method, those that only
// Linux has.
var (
	NoDelay = Option{"TCP_NODELAY", number{method: func(c *net.TCPConn, value int) error {
		return c.SetNoDelay(value != 0)
	}}}
	RecvBuffer = Option{"SO_RCVBUF", number{(*net.TCPConn).SetReadBuffer, (*net.UDPConn).SetReadBuffer}}
	SendBuffer = Option{"SO_SNDBUF", number{(*net.TCPConn).SetWriteBuffer, (*net.UDPConn).SetWriteBuffer}}
	Linger     = Option{"SO_LINGER", number{method: (*net.TCPConn).SetLinger}}
	KeepAlive  = Option{"SO_KEEPALIVE", number{method: func(c *net.TCPConn, value int) error {
		return c.SetKeepAlive(value != 0)
	}}}
	KeepAliveIdle = Option{"TCP_KEEPIDLE", number{method: func(c *net.TCPConn, value int) error {
		return c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: seconds(value), Interval: -1, Count: -1})
	}}}
	KeepAliveInterval = Option{"TCP_KEEPINTVL", number{method: func(c *net.TCPConn, value int) error {
		return c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: -1, Interval: seconds(value), Count: -1})
	}}}
	KeepAliveCount = Option{"TCP_KEEPCNT", number{method: func(c *net.TCPConn, value int) error {
		return c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: -1, Interval: -1, Count: value})
	}}}

	QuickAck          = Option{Name: "TCP_QUICKACK"}
	DelayedAckMax     = Option{Name: "TCP_DELACK_MAX_US"}
	NotSentLowat      = Option{Name: "TCP_NOTSENT_LOWAT"}
	Cork              = Option{Name: "TCP_CORK"}
	BusyPoll          = Option{Name: "SO_BUSY_POLL"}
	Congestion        = Option{Name: "TCP_CONGESTION"}
	PacingRate        = Option{Name: "SO_MAX_PACING_RATE"}
	WindowClamp       = Option{Name: "TCP_WINDOW_CLAMP"}
	MaxSegment        = Option{Name: "TCP_MAXSEG"}
	ThinStream        = Option{Name: "TCP_THIN_LINEAR_TIMEOUTS"}
	UserTimeout       = Option{Name: "TCP_USER_TIMEOUT"}
	FinTimeout        = Option{Name: "TCP_LINGER2"}
	RTOMin            = Option{Name: "TCP_RTO_MIN_US"}
	RTOMax            = Option{Name: "TCP_RTO_MAX_MS"}
	TrafficClass      = Option{Name: "IP_TOS, IPV6_TCLASS"}
	TTL               = Option{Name: "IP_TTL, IPV6_UNICAST_HOPS"}
	Priority          = Option{Name: "SO_PRIORITY"}
	Mark              = Option{Name: "SO_MARK"}
	Interface         = Option{Name: "SO_BINDTODEVICE"}
	LocalPortRange    = Option{Name: "IP_LOCAL_PORT_RANGE"}
	BindAddressNoPort = Option{Name: "IP_BIND_ADDRESS_NO_PORT"}
	SynCount          = Option{Name: "TCP_SYNCNT"}
	Multipath         = Option{Name: "IPPROTO_MPTCP"}
	Backlog           = Option{Name: "listen(2)"}
	DeferAccept       = Option{Name: "TCP_DEFER_ACCEPT"}
	FastOpen          = Option{Name: "TCP_FASTOPEN"}
)

// Raw is the option of any level and number, which only Linux has.
func Raw(level, name int) Option {
	return Option{Name: fmt.Sprintf("level %d option %d", level, name)}
}

// Numbered reports false.
func (Option) Numbered(_, _ int) bool { return false }

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

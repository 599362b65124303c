package socket

import "golang.org/x/sys/unix"

// Numbers of Linux 6.15, from its include/uapi/linux/tcp.h.
const (
	tcpRTOMaxMS    = 44
	tcpRTOMinUS    = 45
	tcpDelackMaxUS = 46
)

// numbers are the numbers of the options on Linux, by the kernel's names.
var numbers = map[string]number{
	"TCP_NODELAY":                      {level: unix.IPPROTO_TCP, name: unix.TCP_NODELAY},
	"TCP_QUICKACK":                     {level: unix.IPPROTO_TCP, name: unix.TCP_QUICKACK},
	"TCP_DELACK_MAX_US":                {level: unix.IPPROTO_TCP, name: tcpDelackMaxUS},
	"TCP_NOTSENT_LOWAT":                {level: unix.IPPROTO_TCP, name: unix.TCP_NOTSENT_LOWAT},
	"TCP_CORK":                         {level: unix.IPPROTO_TCP, name: unix.TCP_CORK},
	"SO_BUSY_POLL":                     {level: unix.SOL_SOCKET, name: unix.SO_BUSY_POLL},
	"SO_RCVBUF":                        {level: unix.SOL_SOCKET, name: unix.SO_RCVBUF, force: unix.SO_RCVBUFFORCE, lock: recvLock},
	"SO_SNDBUF":                        {level: unix.SOL_SOCKET, name: unix.SO_SNDBUF, force: unix.SO_SNDBUFFORCE, lock: sendLock},
	"TCP_CONGESTION":                   {level: unix.IPPROTO_TCP, name: unix.TCP_CONGESTION, form: text},
	"SO_MAX_PACING_RATE":               {level: unix.SOL_SOCKET, name: unix.SO_MAX_PACING_RATE, form: long},
	"TCP_WINDOW_CLAMP":                 {level: unix.IPPROTO_TCP, name: unix.TCP_WINDOW_CLAMP},
	"TCP_MAXSEG":                       {level: unix.IPPROTO_TCP, name: unix.TCP_MAXSEG},
	"TCP_THIN_LINEAR_TIMEOUTS":         {level: unix.IPPROTO_TCP, name: unix.TCP_THIN_LINEAR_TIMEOUTS},
	"SO_KEEPALIVE":                     {level: unix.SOL_SOCKET, name: unix.SO_KEEPALIVE},
	"TCP_KEEPIDLE":                     {level: unix.IPPROTO_TCP, name: unix.TCP_KEEPIDLE},
	"TCP_KEEPINTVL":                    {level: unix.IPPROTO_TCP, name: unix.TCP_KEEPINTVL},
	"TCP_KEEPCNT":                      {level: unix.IPPROTO_TCP, name: unix.TCP_KEEPCNT},
	"TCP_USER_TIMEOUT":                 {level: unix.IPPROTO_TCP, name: unix.TCP_USER_TIMEOUT},
	"SO_LINGER":                        {level: unix.SOL_SOCKET, name: unix.SO_LINGER, form: linger},
	"TCP_LINGER2":                      {level: unix.IPPROTO_TCP, name: unix.TCP_LINGER2},
	"TCP_RTO_MIN_US":                   {level: unix.IPPROTO_TCP, name: tcpRTOMinUS},
	"TCP_RTO_MAX_MS":                   {level: unix.IPPROTO_TCP, name: tcpRTOMaxMS},
	"IP_TOS, IPV6_TCLASS":              {level: unix.IPPROTO_IP, name: unix.IP_TOS, ipv6: unix.IPV6_TCLASS},
	"IP_TTL, IPV6_UNICAST_HOPS":        {level: unix.IPPROTO_IP, name: unix.IP_TTL, ipv6: unix.IPV6_UNICAST_HOPS},
	"SO_PRIORITY":                      {level: unix.SOL_SOCKET, name: unix.SO_PRIORITY},
	"SO_MARK":                          {level: unix.SOL_SOCKET, name: unix.SO_MARK},
	"SO_BINDTODEVICE":                  {level: unix.SOL_SOCKET, name: unix.SO_BINDTODEVICE, form: text},
	"IP_LOCAL_PORT_RANGE":              {level: unix.IPPROTO_IP, name: unix.IP_LOCAL_PORT_RANGE},
	"IP_BIND_ADDRESS_NO_PORT":          {level: unix.IPPROTO_IP, name: unix.IP_BIND_ADDRESS_NO_PORT},
	"IP_FREEBIND, IPV6_FREEBIND":       {level: unix.IPPROTO_IP, name: unix.IP_FREEBIND, ipv6: unix.IPV6_FREEBIND},
	"IP_TRANSPARENT, IPV6_TRANSPARENT": {level: unix.IPPROTO_IP, name: unix.IP_TRANSPARENT, ipv6: unix.IPV6_TRANSPARENT},
	"TCP_SYNCNT":                       {level: unix.IPPROTO_TCP, name: unix.TCP_SYNCNT},
	"IPPROTO_MPTCP":                    {form: multipath},
	"listen(2)":                        {form: backlog},
	"TCP_DEFER_ACCEPT":                 {level: unix.IPPROTO_TCP, name: unix.TCP_DEFER_ACCEPT},
	"TCP_SAVE_SYN":                     {level: unix.IPPROTO_TCP, name: unix.TCP_SAVE_SYN},
	"TCP_FASTOPEN":                     {level: unix.IPPROTO_TCP, name: unix.TCP_FASTOPEN},
	"TCP_SAVED_SYN":                    {level: unix.IPPROTO_TCP, name: unix.TCP_SAVED_SYN, form: opaque},
	"SO_COOKIE":                        {level: unix.SOL_SOCKET, name: unix.SO_COOKIE, form: long},
}

// numbered returns the number of an option that takes an int.
func numbered(level, name int) number { return number{level: level, name: name} }

// Numbered reports whether setsockopt(2) has the option under these numbers.
func (o Option) Numbered(level, name int) bool {
	return name != 0 && (level == o.level && name == o.name || level == unix.IPPROTO_IPV6 && name == o.ipv6)
}

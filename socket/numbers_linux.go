package socket

import "golang.org/x/sys/unix"

// The options by their numbers on Linux. An option without a line in another
// system's numbers file is unsupported there.
var (
	NoDelay    = Option{"TCP_NODELAY", number{unix.IPPROTO_TCP, unix.TCP_NODELAY}}
	QuickAck   = Option{"TCP_QUICKACK", number{unix.IPPROTO_TCP, unix.TCP_QUICKACK}}
	RecvBuffer = Option{"SO_RCVBUF", number{unix.SOL_SOCKET, unix.SO_RCVBUF}}
	SendBuffer = Option{"SO_SNDBUF", number{unix.SOL_SOCKET, unix.SO_SNDBUF}}
)

//go:build !linux

package socket

import "net"

// The options that net.TCPConn has methods for. QuickAck is Linux's alone.
var (
	NoDelay    = Option{"TCP_NODELAY", number{setNoDelay}}
	QuickAck   = Option{"TCP_QUICKACK", number{nil}}
	RecvBuffer = Option{"SO_RCVBUF", number{(*net.TCPConn).SetReadBuffer}}
	SendBuffer = Option{"SO_SNDBUF", number{(*net.TCPConn).SetWriteBuffer}}
)

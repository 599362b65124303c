// Package socket sets, reads and times the kernel's socket options on Go's TCP connections. It knows nothing of Caddy.
//
// The files:
//
//	option.go     Option, Setting: the kernel's names, set and get through one control helper
//	numbers_*.go  the numbers of the options that a system has
//	conn.go       Conn, which acknowledges in time; copy.go is its ReadFrom and WriteTo
//	ack.go        how Conn drives quickack/, which learns about its peer
//	unwrap.go     from a wrapped connection or listener to the kernel's socket
//	override.go   options for a while, restored afterwards
//	kernel_*.go   release, sysctls, capabilities
//	tcpinfo_*.go  TCP_INFO
//	other.go      systems other than Linux: what sets options there, and what they lack
//	trial/        tries options before they meet a real connection
package socket

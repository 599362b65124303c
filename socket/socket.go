// Package socket sets, reads and times the kernel's socket options on Go's TCP
// connections. It knows nothing of Caddy.
//
// The files:
//
//	option.go     Option, Setting: the kernel's names, set and get through one control helper
//	numbers_*.go  the numbers of the options that a system has
//	conn_*.go     Conn, which acknowledges in time
//	unwrap.go     from a wrapped connection or listener to the kernel's socket
//	learn_*.go    what Conn learns about its peer
//	override_*.go options for a while, restored afterwards
//	kernel_*.go   release, sysctls, capabilities
//	tcpinfo_*.go  TCP_INFO
//	trial/        tries options before they meet a real connection
package socket

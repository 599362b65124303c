// Package socket sets, reads and times the kernel's socket options on Go's TCP
// connections. It knows nothing of Caddy.
//
// The files:
//
//	option.go     Option, Setting: set and get through one control helper
//	numbers_*.go  the kernel's numbers, one line an option and system
//	conn_*.go     Conn, which acknowledges in time
//	dial_*.go     which options go before the SYN, found once at load
//	unwrap.go     from a wrapped connection or listener to the kernel's socket
//	scratch_*.go  tries options before they meet a real connection
//	exchange_*.go finds options that stop the flow of data
//	inherit_*.go  finds the options that accepted connections inherit
//	learn_*.go    what Conn learns about its peer
//	override_*.go options for a while, restored afterwards
//	kernel_*.go   release, sysctls, capabilities
//	tcpinfo_*.go  TCP_INFO
package socket

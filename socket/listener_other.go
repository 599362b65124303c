//go:build !linux

package socket

import "syscall"

// SpeaksMPTCP reports whether the socket of c is one of MPTCP: never, here.
func SpeaksMPTCP(syscall.Conn) bool { return false }

//go:build !linux

package socket

import "syscall"

// SpeaksMPTCP reports false: MPTCP is used on Linux only.
func SpeaksMPTCP(syscall.Conn) bool { return false }

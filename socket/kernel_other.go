//go:build !linux

package socket

// KernelRelease returns nothing: no option's presence depends on it.
func KernelRelease() string { return "" }

//go:build !linux

package socket

// Exchange tries nothing: elsewhere options meet real connections only.
func Exchange([]Setting) error { return nil }

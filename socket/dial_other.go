//go:build !linux

package socket

// BeforeSYN returns all settings as those of an open connection.
func BeforeSYN(_ bool, settings []Setting) (before, after []Setting) { return nil, settings }

// TryDial returns the value as it is, like Try.
func TryDial(_ bool, s Setting) (effective Value, err error) { return s.Value, nil }

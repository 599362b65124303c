//go:build !linux

package socket

import "errors"

// Try returns the value as it is: on systems other than Linux, options meet real
// connections only.
func Try(_ bool, s Setting) (effective Value, err error) { return s.Value, nil }

// TryPlain does what Try does.
func TryPlain(bool, Setting) error { return nil }

// Later always fails with errors.ErrUnsupported.
func Later([]Setting, Option) (Value, error) { return Value{}, errors.ErrUnsupported }

// Default always fails with errors.ErrUnsupported.
func Default(bool, Option) (Value, error) { return Value{}, errors.ErrUnsupported }

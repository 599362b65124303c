//go:build !linux

package socket

import "errors"

// MeasureFigures always fails with errors.ErrUnsupported.
func (*Conn) MeasureFigures(*Measurement) error { return errors.ErrUnsupported }

// Measure always fails with errors.ErrUnsupported.
func (*Conn) Measure(*Measurement) error { return errors.ErrUnsupported }

// Learned returns nothing: there are no acknowledgements to know of.
func (*Conn) Learned() Learned { return Learned{State: "off"} }

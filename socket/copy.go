package socket

import (
	"io"
	"net"
	"os"
	"syscall"
)

// ReadFrom sends what r has, with sendfile(2) or splice(2) where (*net.TCPConn).ReadFrom does so.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	from := r
	for {
		limited, ok := from.(*io.LimitedReader)
		if !ok {
			break
		}
		from = limited.R
	}
	switch from.(type) {
	case *os.File: // its bytes are there; those of a connection may come much later
		c.sends()
	case syscall.Conn: // a connection, whose type (*net.TCPConn).WriteTo hides
		c.sending.Store(true)
		defer c.sending.Store(false)
	default:
		n, err := io.Copy(struct{ io.Writer }{c}, r)
		return n, c.opError("readfrom", err)
	}
	return c.TCPConn.ReadFrom(r)
}

// WriteTo moves to w what c receives, until the peer closes its side. Towards another TCP connection the bytes move
// with splice(2), which ends at urgent data as it does for a *net.TCPConn. Towards a Unix socket, which *net.TCPConn
// would splice to as well, they are copied.
func (c *Conn) WriteTo(w io.Writer) (written int64, err error) {
	switch dst := w.(type) {
	case *Conn:
		return c.spliceTo(dst)
	case *net.TCPConn:
		return c.spliceTo(&Conn{TCPConn: dst})
	}
	written, err = io.Copy(w, struct{ io.Reader }{c})
	return written, c.opError(writeTo, err)
}

// writeTo is the operation that the errors of WriteTo name.
const writeTo = "writeto"

// spliceTo waits with a peek, so that the read that parks is seen, and then has the kernel move what is there.
func (c *Conn) spliceTo(dst *Conn) (written int64, err error) {
	waiting := io.LimitedReader{R: c.TCPConn}
	for {
		n, err := c.wait(writeTo, "recvfrom", nil)
		if n == 0 || err != nil {
			return written, err
		}
		dst.sends()
		waiting.N = int64(n)
		moved, err := dst.TCPConn.ReadFrom(&waiting)
		written += moved
		if err != nil {
			return written, c.opError(writeTo, err)
		}
		if moved == 0 { // bytes wait behind urgent data, which splice(2) does not pass
			return written, nil
		}
	}
}

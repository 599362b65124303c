package integration_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/options"
)

// reader reads a large payload piece by piece.
type reader struct {
	conn *net.TCPConn // nil once it was cut
	body io.Reader
	left int64
}

// readers are clients that have asked for a payload.
func (e *exposed) readers(count int, path string, payload int64) ([]*reader, error) {
	readers := make([]*reader, count)
	for i := range readers {
		readers[i] = &reader{left: payload}
	}
	return readers, e.all(readers, func(r *reader) (err error) {
		if r.conn, err = e.dial(); err != nil {
			return err
		}
		if err := r.conn.SetReadBuffer(32 << 10); err != nil {
			return err
		}
		_, err = fmt.Fprintf(r.conn, "GET %s HTTP/1.1\r\n%s", path, requestRest)
		return err
	})
}

// all has all readers do something that are not cut, and lets go those that are.
func (e *exposed) all(readers []*reader, do func(*reader) error) error {
	return together(len(readers), func(i int) error {
		r := readers[i]
		if r == nil {
			return nil
		}
		err := do(r)
		if err != nil {
			r.hangUp()
			readers[i] = nil
		}
		if e.isCut(err) {
			return nil
		}
		return err
	})
}

func (r *reader) hangUp() {
	if r.conn != nil {
		r.conn.Close()
	}
}

// read reads a piece of the payload.
func (r *reader) read(size int64) error {
	if err := r.conn.SetReadDeadline(time.Now().Add(lab.Patience)); err != nil {
		return err
	}
	if r.body == nil {
		resp, err := http.ReadResponse(bufio.NewReader(r.conn), nil)
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK || resp.ContentLength != r.left {
			return fmt.Errorf("%w: status %s, %d bytes", errWrong, resp.Status, resp.ContentLength)
		}
		r.body = resp.Body
	}
	piece := make([]byte, min(size, r.left))
	n, err := io.ReadFull(r.body, piece)
	if strings.Trim(string(piece[:n]), "*") != "" {
		return fmt.Errorf("%w with other bytes", errWrong)
	}
	r.left -= int64(n)
	return err
}

// readAll has readers read their payload in pieces, and others do something before each.
// It returns how many have the whole of it.
func (e *exposed) readAll(readers []*reader, piece int64, between func() error) (whole int, err error) {
	defer func() {
		for _, r := range readers {
			if r != nil {
				r.hangUp()
			}
		}
	}()
	for {
		if err := between(); err != nil {
			return 0, err
		}
		if err := e.all(readers, func(r *reader) error { return r.read(piece) }); err != nil {
			return 0, err
		}
		unread, done := 0, 0
		for _, r := range readers {
			switch {
			case r == nil:
			case r.left > 0:
				unread++
			default:
				done++
			}
		}
		if unread == 0 {
			return done, nil
		}
	}
}

// untilWhole has readers read until each has the whole payload: those that are cut ask
// again, as long as the loads may go on.
func untilWhole(readers int, read func(readers int) (whole int, err error)) error {
	left := readers
	for deadline := time.Now().Add(10 * lab.Patience); time.Now().Before(deadline); {
		whole, err := read(left)
		if err != nil {
			return err
		}
		if left -= whole; left == 0 {
			return nil
		}
	}
	return fmt.Errorf("%d of %d readers are cut again and again", left, readers)
}

// slowReaders read a piece each time that another client has been answered.
func slowReaders(e *exposed, clients int) error {
	return untilWhole(clients, func(clients int) (whole int, err error) {
		readers, err := e.readers(clients, "/large", largePayload)
		if err != nil {
			return 0, err
		}
		return e.readAll(readers, 128<<10, func() error { return e.once(short[0]) })
	})
}

// largeSendBuffers are readers that let the kernel fill the send buffers before they
// read anything.
func largeSendBuffers(e *exposed, clients int) error {
	each := min(sendBuffer, e.sendLimit)
	return untilWhole(clients, func(clients int) (whole int, err error) {
		readers, err := e.readers(clients, "/huge", hugePayload)
		if err != nil {
			return 0, err
		}
		if err := e.all(readers, func(r *reader) error { return r.read(1) }); err != nil {
			return 0, err
		}
		ports := make(map[int]bool)
		for _, r := range readers {
			if r != nil {
				ports[r.conn.LocalAddr().(*net.TCPAddr).Port] = true
			}
		}
		err = lab.Eventually("the send buffers to fill", func() (bool, error) {
			full, _, err := e.queued(ports, each)
			return full == len(ports), err
		})
		if err != nil {
			return 0, err
		}
		whole, err = e.readAll(readers, 4<<20, func() error { return e.once(short[0]) })
		if err != nil {
			return 0, err
		}
		return whole, lab.Eventually("the kernel to let the buffers go", func() (bool, error) {
			_, bytes, err := e.queued(ports, each)
			return bytes == 0, err
		})
	})
}

// sendBuffer is that of the readers which fill it.
const sendBuffer options.Size = 4 << 20

// queued returns to how many of these ports Caddy has that many bytes in the send
// buffer, and how many there are for all of them. Other programs' are not counted.
func (e *exposed) queued(ports map[int]bool, each options.Size) (full int, bytes int64, err error) {
	_, own, err := net.SplitHostPort(e.addr)
	if err != nil {
		return 0, 0, err
	}
	err = eachConnection(func(c connection) {
		if fmt.Sprint(c.local) == own && ports[c.remote] {
			bytes += c.queued
			if c.queued >= int64(each) {
				full++
			}
		}
	})
	return full, bytes, err
}

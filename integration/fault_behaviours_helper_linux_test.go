package integration_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// behaviour is what one client of the storm does, once all of its wave are
// connected. It returns an error where the server did something wrong.
type behaviour struct {
	name string
	// early clients do not wait for the others of their wave.
	early bool
	act   func(*net.TCPConn) error
}

var behaviours = []behaviour{
	{"resets at once", true, reset},
	{"keeps alive", false, func(c *net.TCPConn) error {
		r := bufio.NewReader(c)
		for range 3 {
			if err := fetch(c, r, request); err != nil {
				return err
			}
		}
		return nil
	}},
	{"half-closes", false, func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, requestLine+"Connection: close\r\n"+requestRest); err != nil {
			return err
		}
		if err := c.CloseWrite(); err != nil {
			return err
		}
		r := bufio.NewReader(c)
		if err := receive(r); err != nil {
			return err
		}
		return atEnd(r)
	}},
	{"half-closes without a request", false, func(c *net.TCPConn) error {
		if err := c.CloseWrite(); err != nil {
			return err
		}
		return atEnd(bufio.NewReader(c))
	}},
	{"sends in pieces", false, func(c *net.TCPConn) error {
		if err := c.SetNoDelay(false); err != nil {
			return err
		}
		if _, err := io.WriteString(c, requestLine); err != nil {
			return err
		}
		return fetch(c, bufio.NewReader(c), requestRest)
	}},
	{"closes in the middle of a request", false, func(c *net.TCPConn) error {
		_, err := io.WriteString(c, requestLine+"Host: 127")
		return err
	}},
	{"resets in the middle of a request", false, func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, requestLine+"Host: 127"); err != nil {
			return err
		}
		return reset(c)
	}},
	{"resets in the middle of the response", false, func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, request); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, c, 100); err != nil {
			return err
		}
		return reset(c)
	}},
}

func reset(c *net.TCPConn) error {
	if err := c.SetLinger(0); err != nil {
		return err
	}
	return c.Close()
}

// fetch sends what makes a request complete and reads the payload.
func fetch(c net.Conn, r *bufio.Reader, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	return receive(r)
}

// receive reads one response and checks its payload.
func receive(r *bufio.Reader) error {
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || !bytes.Equal(lab.Stars, body) {
		return fmt.Errorf("%w: status %s, %d bytes", errWrong, resp.Status, len(body))
	}
	return nil
}

// errWrong is what no fault may lead to: a whole response that is not the payload.
var errWrong = errors.New("a wrong payload")

func atEnd(r *bufio.Reader) error {
	switch b, err := r.ReadByte(); err {
	case io.EOF:
		return nil
	case nil:
		return fmt.Errorf("%w: %q after its end", errWrong, b)
	default:
		return fmt.Errorf("instead of the end of the connection: %w", err)
	}
}

// ofStorm are the behaviours of the storm by their names.
func ofStorm(names ...string) (some []behaviour) {
	for _, b := range behaviours {
		if slices.Contains(names, b.name) {
			some = append(some, b)
		}
	}
	return some
}

var resets = append(ofStorm("resets at once", "resets in the middle of a request", "resets in the middle of the response"),
	behaviour{name: "resets after a request", act: func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, request); err != nil {
			return err
		}
		return reset(c)
	}},
	behaviour{name: "resets after a request to a backend", act: func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, "GET /proxied HTTP/1.1\r\n"+requestRest); err != nil {
			return err
		}
		return reset(c)
	}},
	behaviour{name: "is answered between those that reset", act: askOnce},
)

const unfinishedPost = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n*****"

var halfOpen = append(ofStorm("half-closes", "half-closes without a request"),
	behaviour{name: "stops in the header", act: func(c *net.TCPConn) error {
		return unanswered(c, requestLine+"Host: 127")
	}},
	behaviour{name: "stops before it begins", act: func(c *net.TCPConn) error { return unanswered(c, "") }},
	behaviour{name: "half-closes in the header", act: func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, requestLine+"Host: 127"); err != nil {
			return err
		}
		return refused(c)
	}},
	behaviour{name: "half-closes in the body", act: func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, unfinishedPost); err != nil {
			return err
		}
		if err := c.CloseWrite(); err != nil {
			return err
		}
		return refused(c)
	}},
	behaviour{name: "stops in the body", act: func(c *net.TCPConn) error {
		if _, err := io.WriteString(c, unfinishedPost); err != nil {
			return err
		}
		return refused(c)
	}},
	behaviour{name: "stops after a response", act: func(c *net.TCPConn) error {
		r := bufio.NewReader(c)
		if err := fetch(c, r, request); err != nil {
			return err
		}
		return atEnd(r)
	}},
)

// unanswered sends the beginning of a request, and waits for the server to give it up
// without a word.
func unanswered(c *net.TCPConn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	return atEnd(bufio.NewReader(c))
}

// refused waits for the server to end the connection, perhaps with a word about why.
func refused(c *net.TCPConn) error {
	answer, err := io.ReadAll(c)
	if err == nil && len(answer) > 0 && !bytes.HasPrefix(answer, []byte("HTTP/1.1 4")) {
		return fmt.Errorf("%w: %.100q", errWrong, answer)
	}
	return err
}

var short = []behaviour{{name: "asks once", act: askOnce}}

// askOnce is a request with a connection of its own.
func askOnce(c *net.TCPConn) error {
	r := bufio.NewReader(c)
	if err := fetch(c, r, requestLine+"Connection: close\r\n"+requestRest); err != nil {
		return err
	}
	return atEnd(r)
}

func (b behaviour) run(addr string, connected *sync.WaitGroup) error {
	conn, err := net.DialTimeout("tcp", addr, lab.Patience)
	if err != nil {
		connected.Done()
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(lab.Patience)); err != nil {
		connected.Done()
		return err
	}
	connected.Done()
	if !b.early {
		connected.Wait()
	}
	return b.act(conn.(*net.TCPConn))
}

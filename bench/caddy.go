//go:build linux

package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// caddySite is what a Caddy does at one of its ports.
type caddySite struct {
	wrapper    string // in listener_wrappers; none is stock Caddy
	options    string // of the server
	directives string
	secure     bool
}

// wrappers are the listener wrappers of the Caddys that are compared.
var wrappers = map[string]string{
	stock:      "",
	stockAgain: "",
	auto:       "sockopt",
	on:         "sockopt {\nquickack on\n}",
	off:        "sockopt {\nquickack off\n}",
	nagle:      "sockopt {\nnodelay off\n}",
}

// comparedSeats serve the payload of 2009. Stock Caddy is the same process, at a
// port whose listener is not wrapped.
var comparedSeats = func() []seat {
	var seats []seat
	for _, w := range []work{plain, secure} {
		for _, system := range []string{stock, auto, stockAgain, on, off, nagle} {
			seats = append(seats, seat{w, system, caddySite{wrapper: wrappers[system], directives: "echo_payload"}})
		}
	}
	return seats
}()

// caddyServer is a Caddy that serves at several ports.
func caddyServer(seats []seat) server {
	return server{"Caddy", seats, func(l *lineup, seats []seat, dir string, at []int) ([]string, error) {
		admin, err := ports(loopbackHost, 1)
		if err != nil {
			return nil, err
		}
		l.caddyAdmin = address(loopbackHost, admin[0])
		if len(l.wrap) > 0 {
			l.caddyAdmin = address(l.host, admin[0])
		}
		var global, sites strings.Builder
		for i, s := range seats {
			scheme, directives, wrapper := "http", l.directives(s), s.wrapper
			if s.work == secure || s.secure {
				scheme = "https"
				directives = fmt.Sprintf("tls %s %[1]s\n%s", l.site.certificate, directives)
				if wrapper != "" {
					wrapper += "\ntls"
				}
			}
			options := s.options
			if wrapper != "" {
				options += "\nlistener_wrappers {\n" + wrapper + "\n}"
			}
			if options != "" {
				fmt.Fprintf(&global, "servers :%d {\n%s\n}\n", at[i], options)
			}
			fmt.Fprintf(&sites, "%s://%s {\n%s\n}\n", scheme, address(l.host, at[i]), directives)
		}
		file := filepath.Join(dir, "Caddyfile")
		text := fmt.Sprintf(`{
	admin %s {
		origins %[1]s
	}
	storage file_system %s
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	grace_period 1s
	log {
		level ERROR
	}
	%s
}
%s`, l.caddyAdmin, dir, &global, &sites)
		command := []string{l.caddy, "run", "--adapter", "caddyfile", "--config", file}
		return command, os.WriteFile(file, []byte(text), 0o600)
	}}
}

// directives puts the addresses and paths of this run into a site's directives.
func (l *lineup) directives(s seat) string {
	backend := map[work]string{behindNagle: paste, behindNoDelay: pasteMend}[s.work]
	upstream, _ := l.find(plain, backend) // where there is none, the site does not name it
	return strings.NewReplacer("{backend}", upstream.addr, "{root}", l.site.dir).Replace(s.caddySite.directives)
}

// ask sends a request to the last Caddy's admin API and returns the answer.
func (l *lineup) ask(ctx context.Context, path string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.caddyAdmin+path, nil)
	if err != nil {
		return "", err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", path, resp.Status)
	}
	return string(text), err
}

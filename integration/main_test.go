// Package integration_test runs a Caddy with this plugin, in this process or in one of its
// own, and looks at it from outside: at what clients and backends receive, at the sockets
// in the kernel, at system calls and segments, at the admin API, the metrics and the log.
package integration_test

import (
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddy-sockopt/caddy-sockopt"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m, caddycmd.Main) }

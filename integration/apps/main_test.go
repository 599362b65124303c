// Package apps_test runs this plugin beside other plugins of Caddy and beside a certificate
// authority, in a module of its own: none of them is in anybody's Caddy.
package apps_test

import (
	"testing"

	_ "github.com/mholt/caddy-l4"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-sockopt/caddy-sockopt"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m, caddycmd.Main) }

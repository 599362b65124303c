// Command caddy is Caddy with its standard modules and this plugin.
//
// It is for working on the plugin. For a server, build Caddy with xcaddy, which
// adds other plugins as well; README.md says how.
package main

import (
	_ "time/tzdata"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-sockopt/caddy-sockopt"
)

func main() {
	caddycmd.Main()
}

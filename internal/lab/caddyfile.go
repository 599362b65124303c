package lab

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Caddyfile returns a Caddyfile with global options and sites, and with the settings
// that keep a Caddy to itself: its files and its log are in dir.
func Caddyfile(dir, admin, global, sites string) string {
	return fmt.Sprintf(`{
	admin %s {
		origins %[1]s
	}
	storage file_system %s
	storage_clean_interval off
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	grace_period 1s
	log {
		output file %s
		level DEBUG
	}
	%s
}
%s
`, admin, dir, filepath.Join(dir, "log"), global, sites)
}

// Wrappers are the global options of a server whose listener wrappers are lines.
func Wrappers(lines string) string {
	return "servers {\nlistener_wrappers {\n" + lines + "\n}\n}"
}

// Block is a block of lines that begin at the left.
func Block(lines ...string) string {
	return " {\n" + strings.Join(lines, "\n") + "\n}"
}

// EchoSite is a site that serves the payload on addr.
func EchoSite(addr string) string { return fmt.Sprintf("http://%s {\necho_payload\n}", addr) }

package integration_test

import (
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

func TestMain(m *testing.M) { lab.Main(m, caddycmd.Main) }

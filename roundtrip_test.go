package sockopt

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"
)

func init() { caddy.RegisterModule(new(naming)) }

// naming is a handler that asks at its Provision what its configuration may name.
type naming struct{}

// namingTold is what the last naming was told.
var namingTold bool

func (*naming) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.naming_test", New: func() caddy.Module { return new(naming) }}
}

func (*naming) Provision(ctx caddy.Context) error {
	namingTold = configurationOf(ctx).namesUpstream
	return nil
}

func (*naming) ServeHTTP(http.ResponseWriter, *http.Request, caddyhttp.Handler) error { return nil }

// TestNamesUpstream finds the configuration in Caddy's unexported field.
func TestNamesUpstream(t *testing.T) {
	for _, test := range []struct {
		name, handler string
		want          bool
	}{
		{"nothing", `{"handler": "static_response", "body": "{http.request.uri}"}`, false},
		{"a placeholder", `{"handler": "log_append", "key": "k", "value": "{http.reverse_proxy.upstream.tcp_info.rtt}"}`, true},
		{"templates", `{"handler": "templates"}`, true},
		{"nothing again", `{"handler": "static_response"}`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := `{"servers": {"s": {"routes": [{"handle": [` + test.handler + `, {"handler": "naming_test"}]}]}}}`
			namingTold = !test.want
			require.NoError(t, caddy.Validate(&caddy.Config{AppsRaw: caddy.ModuleMap{"http": json.RawMessage(config)}}))
			require.Equal(t, test.want, namingTold)
		})
	}
}

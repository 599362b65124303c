package sockopt

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

func TestServesPayload(t *testing.T) {
	addr := lab.Address(t)
	inprocess.Run(t, lab.Wrappers("sockopt"), fmt.Sprintf("http://%s {\necho_payload\n}", addr))
	require.NoError(t, lab.Get(t.Context(), http.DefaultClient, "http://"+addr))
}

// Interface guards, of what is not registered as such
var (
	_ caddy.Provisioner     = (*ListenerWrapper)(nil)
	_ caddy.ListenerWrapper = (*ListenerWrapper)(nil)
	_ caddyfile.Unmarshaler = (*ListenerWrapper)(nil)

	_ caddy.Provisioner       = (*PacketConnWrapper)(nil)
	_ caddy.CleanerUpper      = (*PacketConnWrapper)(nil)
	_ caddy.PacketConnWrapper = (*PacketConnWrapper)(nil)
	_ caddyfile.Unmarshaler   = (*PacketConnWrapper)(nil)

	_ caddy.Provisioner                                = (*Transport)(nil)
	_ caddyfile.Unmarshaler                            = (*Transport)(nil)
	_ http.RoundTripper                                = (*Transport)(nil)
	_ reverseproxy.TLSTransport                        = (*Transport)(nil)
	_ reverseproxy.H2CTransport                        = (*Transport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Transport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*Transport)(nil)
	_ reverseproxy.RequestHeaderOpsTransport           = (*Transport)(nil)

	_ caddy.Provisioner = (*Handler)(nil)

	_ caddy.Provisioner                 = (*MatchTCPInfo)(nil)
	_ caddyhttp.RequestMatcherWithError = (*MatchTCPInfo)(nil)
	_ caddyfile.Unmarshaler             = (*MatchTCPInfo)(nil)

	_ caddy.Provisioner = (*TCPInfo)(nil)
	_ caddy.Provisioner = (*EchoPayload)(nil)
	_ caddy.AdminRouter = AdminAPI{}
)

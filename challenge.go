package sockopt

import (
	"slices"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
)

// warnOfChallenges warns of issuers of certificates that want to listen on one of our
// networks. The Caddyfile makes the first address of "bind" the host on which CertMagic
// listens for challenges (httpcaddyfile/tlsapp.go), which knows no networks.
func warnOfChallenges(ctx caddy.Context) {
	app, _ := ctx.AppIfConfigured("tls") // its errors are Caddy's to report
	tls, ok := app.(*caddytls.TLS)
	if !ok || tls.Automation == nil {
		return
	}
	for _, policy := range tls.Automation.Policies {
		for _, issuer := range policy.Issuers {
			wrapper, ok := issuer.(interface{ GetACMEIssuer() *caddytls.ACMEIssuer })
			if !ok {
				continue
			}
			acme := wrapper.GetACMEIssuer()
			if acme == nil || acme.Challenges == nil || acme.Challenges.DNS != nil {
				continue
			}
			name, _, _, err := caddy.SplitNetworkAddress(acme.Challenges.BindHost)
			if err != nil || !slices.ContainsFunc(networks, func(n network) bool { return n.name == name }) {
				continue
			}
			caddy.Log().Named("network").Warn("no certificates for sites here by the challenges of ACME that connect to Caddy: "+
				"bind to an ordinary address before this one, such as 127.0.0.1, or use the DNS challenge",
				zap.String("bind", acme.Challenges.BindHost), zap.Strings("subjects", policy.SubjectsRaw))
		}
	}
}

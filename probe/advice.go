package probe

import (
	"net/url"
	"slices"
	"strings"
	"text/template"
)

// advice is the fix as text with a Caddyfile in it. A site over https needs no `tls`
// in listener_wrappers: sockopt works wherever it stands.
var advice = template.Must(template.New("").Parse(`
{{- if .Nagle}}On the server, set TCP_NODELAY, or write the header and the body of a response
together. If you cannot change the server, put Caddy with caddy-sockopt in front of it:
{{else if .Behind}}Probe the backend itself, from the machine of this server:

	caddy sockopt probe http://BACKEND:PORT/

If it stalls, set TCP_NODELAY there. If you cannot change it, put Caddy with
caddy-sockopt in front of it: as this server, or between this server and the backend:
{{else}}The server's kernel delays acknowledgements, as is usual. Where clients with Nagle's
algorithm on matter, use Caddy with caddy-sockopt in its place, or in front of it:
{{end}}
	{
		servers {
{{- if .H2C}}
			protocols h1 h2 h2c
{{- end}}
			listener_wrappers {
				sockopt
			}
		}
	}

	{{.Site}} {
		reverse_proxy {{.Upstream}} {
			transport sockopt
{{- if or .Insecure .H2C}} {
{{- if .Insecure}}
				tls_insecure_skip_verify
{{- end}}
{{- if .H2C}}
				versions h2c 2
{{- end}}
			}
{{- end}}
		}
	}
`))

// advise fills in the fix.
func (r *Report) advise(target *url.URL, insecure bool) {
	if !r.Verdict.Stalls() {
		if r.Verdict == OtherSlow {
			r.Fix = "TCP_NODELAY, TCP_QUICKACK and pauses do not change it: look at the handler, its backends\nand the path. Where it is a proxy that does not run on Linux, probe its backend as well.\n"
		}
		return
	}
	host := strings.TrimSuffix(target.Host, ":"+target.Port())
	values := struct {
		Nagle, Behind, Insecure, H2C bool
		Site, Upstream               string
	}{
		Nagle: r.Verdict.has(Nagle), Behind: r.Verdict.has(Behind),
		Site: target.Scheme + "://" + host, Upstream: target.Scheme + "://" + target.Host,
		Insecure: insecure && target.Scheme == "https",
		H2C:      r.Protocol == "HTTP/2" && target.Scheme == "http",
	}
	if values.Behind || slices.Contains([]string{"", "80", "443"}, target.Port()) { // the port is the site's
		values.Upstream = target.Scheme + "://BACKEND:PORT"
	}
	if values.Behind { // its protocol is not known
		values.Upstream, values.Insecure = "BACKEND:PORT", false
	}
	var b strings.Builder
	_ = advice.Execute(&b, values) // to a builder
	r.Fix = b.String()
}

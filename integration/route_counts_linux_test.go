package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

// TestRouteThatCounts: a deeper block wins, and of one block the first that sets an option.
func TestRouteThatCounts(t *testing.T) {
	const right, wrong = 3, 2
	lines := strings.NewReplacer("RIGHT", fmt.Sprintf("{\npriority %d\n}", right), "WRONG", fmt.Sprintf("{\npriority %d\nuser_timeout 30s\n}", wrong))
	for _, test := range []struct{ name, site string }{
		{"the more specific path", "sockopt WRONG\nsockopt /held RIGHT\nGATE"},
		{"a matcher before none", "sockopt WRONG\n@get method GET\nsockopt @get RIGHT\nGATE"},
		{"matchers that cannot be compared", "@get method GET\nsockopt @get RIGHT\nsockopt /held WRONG\nGATE"},
		{"handle", "sockopt /held WRONG\nhandle /held {\nsockopt RIGHT\nGATE\n}"},
		{"handle in handle", "handle {\nsockopt WRONG\nhandle /held {\nsockopt RIGHT\nGATE\n}\n}"},
		{"route, as written", "route {\nsockopt RIGHT\nsockopt /held WRONG\nGATE\n}"},
		{"route in route", "route {\nsockopt WRONG\nroute {\nsockopt RIGHT\n}\nsockopt WRONG\nGATE\n}"},
		{"handle_errors", "sockopt WRONG\nerror /held 404\nhandle_errors {\nsockopt RIGHT\nGATE\n}"},
		{"handle_response", "sockopt WRONG\nreverse_proxy GATEWAY {\nrewrite /other\nhandle_response {\nsockopt RIGHT\nGATE\n}\n}"},
		{"a named route", "sockopt WRONG\ninvoke inner"},
		{"a named route in a handle", "sockopt WRONG\nhandle {\nsockopt WRONG\ninvoke inner\n}"},
		{"a named route in another", "sockopt WRONG\ninvoke outer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGate(t, "/held")
			addr := lab.Address(t)
			full := fmt.Sprintf("&(inner) {\nroute {\nsockopt RIGHT\nGATE\n}\n}\n&(outer) {\nroute {\nsockopt WRONG\ninvoke inner\n}\n}\nhttp://%s {\n%s\n}", addr, test.site)
			full = strings.ReplaceAll(lines.Replace(full), "GATEWAY", g.Listener.Addr().String())
			full = strings.ReplaceAll(full, "GATE", "reverse_proxy "+g.Listener.Addr().String())
			inprocess.Run(t, lab.Wrappers("sockopt\n"+inprocess.Observer), full)
			client, conn := singleClient(t, false)
			answered := make(chan error, 1)
			go func() { answered <- lab.Get(t.Context(), client, "http://"+addr+"/held") }()
			select {
			case <-g.entered["/held"]:
			case err := <-answered:
				t.Fatal("it does not come to the backend: ", err)
			}
			served, _ := inprocess.AcceptedSocket(t, conn())
			require.Equal(t, right, priorityOf(t, served))
			if strings.Contains(test.name, "named") || test.name == "handle" { // each option by itself
				require.Equal(t, "30000", heldBy(t, "user_timeout").Read(t, served))
			}
			g.leave["/held"] <- struct{}{}
			require.NoError(t, <-answered)
		})
	}
}

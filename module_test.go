package sockopt

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
	"github.com/caddy-sockopt/caddy-sockopt/internal/lab/inprocess"
)

func TestServesPayload(t *testing.T) {
	addr := lab.Address(t)
	inprocess.Run(t, lab.Wrappers("sockopt"), fmt.Sprintf("http://%s {\necho_payload\n}", addr))
	require.NoError(t, lab.Get(t.Context(), http.DefaultClient, "http://"+addr))
}

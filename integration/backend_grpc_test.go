package integration_test

import (
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	grpcstatus "google.golang.org/grpc/status"

	"github.com/caddy-sockopt/caddy-sockopt/internal/lab"
)

// TestGRPC: answers, errors and streams reach a client of grpc-go through a route with
// options, and through a transport with options.
func TestGRPC(t *testing.T) {
	lab.OtherProcess(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	states := health.NewServer()
	backend := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(backend, states)
	served := make(chan error, 1)
	go func() { served <- backend.Serve(ln) }()
	defer func() {
		backend.Stop()
		require.NoError(t, <-served)
	}()

	for _, test := range []struct{ name, directives string }{
		{"stock", "reverse_proxy h2c://%s"},
		{"route", "sockopt {\nnotsent_lowat 16KiB\n}\nreverse_proxy h2c://%s"},
		{"corked route", "sockopt {\nnotsent_lowat 16KiB\ncork on\n}\nreverse_proxy h2c://%s"},
		{"transport", "reverse_proxy %s {\ntransport sockopt {\nversions h2c 2\nsocket {\nnotsent_lowat 16KiB\n}\n}\n}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			addr := lab.Address(t)
			lab.Spawn(t, "servers {\nprotocols h1 h2c\nlistener_wrappers {\nsockopt\n}\n}",
				fmt.Sprintf("http://%s {\n"+test.directives+"\n}", addr, ln.Addr()))
			conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
			require.NoError(t, err)
			defer conn.Close()
			client := grpc_health_v1.NewHealthClient(conn)

			t.Run("answers", func(t *testing.T) {
				resp, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
				require.NoError(t, err)
				require.Equal(t, grpc_health_v1.HealthCheckResponse_SERVING, resp.GetStatus())
			})
			t.Run("errors", func(t *testing.T) {
				_, err := client.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "unknown"})
				require.Equal(t, codes.NotFound, grpcstatus.Code(err), err)
				err = conn.Invoke(t.Context(), "/unknown.Service/Method", &grpc_health_v1.HealthCheckRequest{}, &grpc_health_v1.HealthCheckResponse{})
				require.Equal(t, codes.Unimplemented, grpcstatus.Code(err), err)
			})
			t.Run("streams", func(t *testing.T) {
				stream, err := client.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: test.name})
				require.NoError(t, err)
				want := grpc_health_v1.HealthCheckResponse_SERVICE_UNKNOWN
				for range 10 {
					resp, err := stream.Recv()
					require.NoError(t, err)
					require.Equal(t, want, resp.GetStatus())
					if want != grpc_health_v1.HealthCheckResponse_SERVING {
						want = grpc_health_v1.HealthCheckResponse_SERVING
					} else {
						want = grpc_health_v1.HealthCheckResponse_NOT_SERVING
					}
					states.SetServingStatus(test.name, want)
				}
			})
		})
	}
}

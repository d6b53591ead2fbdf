package custom

import (
	"context"
	"net"

	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"
)

// DialFunc connects with a ready endpoint of a Service's port.
type DialFunc func(ctx context.Context, namespace, service string, port int32) (net.Conn, error)

// through makes webhooks behind Services be reached with dial: the gateway may not be
// on the pods' network.
func through(dial DialFunc) webhook.AuthenticationInfoResolverWrapper {
	if dial == nil {
		return nil
	}
	return func(next webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
		return &webhook.AuthenticationInfoResolverDelegator{
			ClientConfigForFunc: next.ClientConfigFor,
			ClientConfigForServiceFunc: func(name, namespace string, port int) (*rest.Config, error) {
				config, err := next.ClientConfigForService(name, namespace, port)
				if err != nil {
					return nil, err
				}
				config = rest.CopyConfig(config)
				config.Dial = func(ctx context.Context, _, _ string) (net.Conn, error) {
					return dial(ctx, namespace, name, int32(port))
				}
				return config, nil
			},
		}
	}
}

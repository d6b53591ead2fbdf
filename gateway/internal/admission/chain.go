package admission

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/metrics"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/transport"

	"kubus.dev/gateway/internal/informer"
	"kubus.dev/gateway/internal/loopback"
	"kubus.dev/gateway/internal/resource"
	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
)

// Options are what plugins work with.
type Options struct {
	Config     Config
	Informers  *informer.Factory
	Clients    *loopback.Clients
	Registry   *resource.Registry
	Authorizer authorizer.UnconditionalAuthorizer
	// View gives the view that holds a resource.
	View func(proto.GroupResource) *statelog.View
	// Dial reaches the Services that webhooks name.
	Dial DialFunc
	// Elsewhere is the way to webhooks over a transport; nil: the transport itself.
	Elsewhere transport.WrapperFunc
	Logger    *zap.Logger
}

// New makes the chain, which tells how long it and each of its plugins took under
// upstream's names (apiserver_admission_*). Its plugins work until ctx ends, which should be after the
// last request.
func New(ctx context.Context, o Options) (admission.Interface, error) {
	names, err := o.Config.names()
	if err != nil {
		return nil, fmt.Errorf("admission: %w", err)
	}
	settings, err := o.Config.settings(names)
	if err != nil {
		return nil, fmt.Errorf("admission: %w", err)
	}
	initializers := newInitializers(ctx, o)
	plugins := admission.NewPlugins()
	for i := range chain {
		chain[i].registerIn(plugins, o, initializers)
	}
	made, err := plugins.NewFromPlugins(names, settings, initializers, admission.DecoratorFunc(metrics.WithControllerMetrics))
	if err != nil {
		return nil, fmt.Errorf("admission: %w", err)
	}
	return metrics.WithStepMetrics(own{made}), nil
}

// accountPatience is how long a pod waits for its namespace's default account, which
// a controller makes. Upstream's plugin then asks ten times more, over one or two
// seconds.
const accountPatience = time.Second

// Patience is how long a plugin's look for an object waits for it; for informers.
func Patience(key proto.Key) time.Duration {
	if key.GroupResource == (proto.GroupResource{Resource: "serviceaccounts"}) && key.Name == "default" {
		return accountPatience
	}
	return 0
}

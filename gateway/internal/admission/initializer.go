package admission

import (
	"context"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	webhookinit "k8s.io/apiserver/pkg/admission/plugin/webhook/initializer"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/compatibility"
	"k8s.io/kubernetes/pkg/kubeapiserver/admission/exclusion"
	quotainstall "k8s.io/kubernetes/pkg/quota/v1/install"
)

// version is the Kubernetes version whose rules plugins follow. It is said here
// since upstream's builds learn theirs from the linker: without it, pod security
// would judge by version 0.0, in which everything is allowed.
const version = "1.37"

// newInitializers gives plugins what upstream's servers give them.
func newInitializers(ctx context.Context, o Options) admission.PluginInitializers {
	services := newServices(o.Informers, o.Dial, o.Elsewhere)
	return admission.PluginInitializers{
		initializer.New(o.Clients.Typed, o.Clients.Dynamic, o.Informers, authorizer.AuthorizerFunc(o.Authorizer.Authorize),
			utilfeature.DefaultFeatureGate, compatibility.NewEffectiveVersionFromString(version, "", ""), ctx.Done(), newMapper(o.Registry)),
		webhookinit.NewPluginInitializer(services.wrap, services),
		kubernetes{o},
	}
}

// kubernetes is what Kubernetes' own server adds to the generic one's.
type kubernetes struct{ o Options }

// Initialize is upstream's admission.PluginInitializer.
func (k kubernetes) Initialize(plugin admission.Interface) {
	if wants, ok := plugin.(initializer.WantsExcludedAdmissionResources); ok {
		wants.SetExcludedAdmissionResources(exclusion.Excluded())
	}
	if wants, ok := plugin.(initializer.WantsQuotaConfiguration); ok {
		quota, err := quotainstall.NewQuotaConfigurationForAdmission(k.o.Informers, nil)
		if err != nil { // the plugin then refuses to be used
			k.o.Logger.Error("no quota configuration", zap.Error(err))
			return
		}
		wants.SetQuotaConfiguration(quota)
	}
}

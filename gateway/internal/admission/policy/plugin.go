package policy

import (
	"io"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	"k8s.io/apiserver/pkg/admission/plugin/policy/matching"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
)

// PluginName is upstream's.
const PluginName = validating.PluginName

// Register makes the plugin known by upstream's name.
func Register(plugins *admission.Plugins) {
	plugins.Register(PluginName, func(config io.Reader) (admission.Interface, error) { return NewPlugin(config) })
}

// NewPlugin is upstream's plugin with a dispatcher and a compiler that share more.
func NewPlugin(config io.Reader) (*validating.Plugin, error) {
	made, err := validating.NewPlugin(config)
	if err != nil {
		return nil, err
	}
	own := generic.NewPlugin(made.Handler,
		func(f informers.SharedInformerFactory, _ kubernetes.Interface, client dynamic.Interface, mapper meta.RESTMapper) generic.Source[hook] {
			registrations := f.Admissionregistration().V1()
			return generic.NewPolicySource(
				registrations.ValidatingAdmissionPolicies().Informer(), registrations.ValidatingAdmissionPolicyBindings().Informer(),
				validating.NewValidatingAdmissionPolicyAccessor, validating.NewValidatingAdmissionPolicyBindingAccessor,
				compile, f, client, mapper)
		},
		func(a authorizer.UnconditionalAuthorizer, m *matching.Matcher, _ kubernetes.Interface) generic.Dispatcher[hook] {
			return &dispatcher{authorizer: a, matcher: m}
		},
	)
	own.SetEnabled(true)
	own.SetStaticManifestsDir(made.GetStaticManifestsDir())
	made.Plugin = own
	return made, nil
}

// hook is a compiled policy with its bindings.
type hook = validating.PolicyHook

package admission

import (
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	mutatingpolicy "k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	"k8s.io/kubernetes/plugin/pkg/admission/alwayspullimages"
	"k8s.io/kubernetes/plugin/pkg/admission/certificates/approval"
	"k8s.io/kubernetes/plugin/pkg/admission/certificates/ctbattest"
	"k8s.io/kubernetes/plugin/pkg/admission/certificates/signing"
	"k8s.io/kubernetes/plugin/pkg/admission/certificates/subjectrestriction"
	"k8s.io/kubernetes/plugin/pkg/admission/defaulttolerationseconds"
	"k8s.io/kubernetes/plugin/pkg/admission/eventratelimit"
	"k8s.io/kubernetes/plugin/pkg/admission/extendedresourcetoleration"
	"k8s.io/kubernetes/plugin/pkg/admission/gc"
	"k8s.io/kubernetes/plugin/pkg/admission/limitranger"
	"k8s.io/kubernetes/plugin/pkg/admission/network/defaultingressclass"
	"k8s.io/kubernetes/plugin/pkg/admission/network/denyserviceexternalips"
	"k8s.io/kubernetes/plugin/pkg/admission/nodedeclaredfeatures"
	"k8s.io/kubernetes/plugin/pkg/admission/noderestriction"
	"k8s.io/kubernetes/plugin/pkg/admission/nodetaint"
	"k8s.io/kubernetes/plugin/pkg/admission/podnodeselector"
	"k8s.io/kubernetes/plugin/pkg/admission/podresize"
	"k8s.io/kubernetes/plugin/pkg/admission/podtolerationrestriction"
	"k8s.io/kubernetes/plugin/pkg/admission/podtopologylabels"
	"k8s.io/kubernetes/plugin/pkg/admission/priority"
	"k8s.io/kubernetes/plugin/pkg/admission/runtimeclass"
	"k8s.io/kubernetes/plugin/pkg/admission/scheduling/podgroupprotection"
	"k8s.io/kubernetes/plugin/pkg/admission/security/podsecurity"
	"k8s.io/kubernetes/plugin/pkg/admission/serviceaccount"
	"k8s.io/kubernetes/plugin/pkg/admission/storage/persistentvolume/resize"
	"k8s.io/kubernetes/plugin/pkg/admission/storage/storageclass/setdefault"
	"k8s.io/kubernetes/plugin/pkg/admission/storage/storageobjectinuseprotection"

	"kubus.dev/gateway/internal/admission/policy"
	"kubus.dev/proto"
)

// plugin is a row of the chain.
type plugin struct {
	name     string
	register func(*admission.Plugins)
	on       bool // unless the configuration says otherwise
	// after names resources: the plugin is made when there is an object of each.
	// None: at the start.
	after []proto.GroupResource
	kind  kind // of what is made later
}

// chain lists the plugins in the order in which they run, which is upstream's:
// webhooks see what the plugins before them made of an object, quota counts what
// everybody else let in.
var chain = []plugin{
	{name: lifecycle.PluginName, register: lifecycle.Register, on: true},
	{name: limitranger.PluginName, register: limitranger.Register, on: true, kind: both, after: core("limitranges")},
	{name: serviceaccount.PluginName, register: serviceaccount.Register, on: true},
	{name: noderestriction.PluginName, register: noderestriction.Register, on: true},
	{name: nodetaint.PluginName, register: nodetaint.Register, on: true},
	{name: alwayspullimages.PluginName, register: alwayspullimages.Register},
	{name: podsecurity.PluginName, register: podsecurity.Register, on: true},
	{name: podnodeselector.PluginName, register: podnodeselector.Register},
	{name: priority.PluginName, register: priority.Register, on: true},
	{name: defaulttolerationseconds.PluginName, register: defaulttolerationseconds.Register, on: true},
	{name: podtolerationrestriction.PluginName, register: podtolerationrestriction.Register},
	{name: eventratelimit.PluginName, register: eventratelimit.Register},
	{name: extendedresourcetoleration.PluginName, register: extendedresourcetoleration.Register},
	{name: setdefault.PluginName, register: setdefault.Register, on: true},
	{name: storageobjectinuseprotection.PluginName, register: storageobjectinuseprotection.Register, on: true},
	{name: podgroupprotection.PluginName, register: podgroupprotection.Register, on: true},
	{name: gc.PluginName, register: gc.Register},
	{name: resize.PluginName, register: resize.Register, on: true},
	{name: runtimeclass.PluginName, register: runtimeclass.Register, on: true},
	{name: approval.PluginName, register: approval.Register, on: true},
	{name: signing.PluginName, register: signing.Register, on: true},
	{name: ctbattest.PluginName, register: ctbattest.Register, on: true},
	{name: subjectrestriction.PluginName, register: subjectrestriction.Register, on: true},
	{name: defaultingressclass.PluginName, register: defaultingressclass.Register, on: true},
	{name: denyserviceexternalips.PluginName, register: denyserviceexternalips.Register},
	{name: podtopologylabels.PluginName, register: podtopologylabels.Register, on: true},
	{name: nodedeclaredfeatures.PluginName, register: nodedeclaredfeatures.Register, on: true},
	{name: podresize.PluginName, register: podresize.Register, on: true},
	{name: mutatingpolicy.PluginName, register: mutatingpolicy.Register, on: true, kind: mutates, after: registration("mutatingadmissionpolicies", "mutatingadmissionpolicybindings")},
	{name: mutatingwebhook.PluginName, register: mutatingwebhook.Register, on: true, kind: mutates, after: registration("mutatingwebhookconfigurations")},
	{name: policy.PluginName, register: policy.Register, on: true, kind: validates, after: registration("validatingadmissionpolicies", "validatingadmissionpolicybindings")},
	{name: validatingwebhook.PluginName, register: validatingwebhook.Register, on: true, kind: validates, after: registration("validatingwebhookconfigurations")},
	{name: resourcequota.PluginName, register: resourcequota.Register, on: true, kind: validates, after: core("resourcequotas")},
}

func core(resource string) []proto.GroupResource {
	return []proto.GroupResource{{Resource: resource}}
}

func registration(resources ...string) []proto.GroupResource {
	var out []proto.GroupResource
	for _, r := range resources {
		out = append(out, proto.GroupResource{Group: "admissionregistration.k8s.io", Resource: r})
	}
	return out
}

package resource

import "slices"

// builtIn is made once: whoever keeps something by *Kind relies on it.
var builtIn = func() []*Kind {
	kinds := slices.Concat(
		core(), apps(), autoscaling(), batch(), certificateKinds(), networking(), policy(), rbac(), storage(), admissionRegistration(),
		scheduling(), coordination(), nodeKinds(), discovery(), dynamicResources(), flowControl(), migration(), apiregistration(), extensions(),
	)
	for _, k := range kinds {
		k.Codec = schemeCodec{k}
		if k.Tables == nil {
			k.Tables = Tables{}
		}
		k.hollow = hollowOfKind(k)
	}
	return kinds
}()

// BuiltIn lists the kinds that every gateway serves. Do not modify it.
func BuiltIn() []*Kind { return builtIn }

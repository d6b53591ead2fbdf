package profile

import (
	"errors"
	"fmt"
	"slices"

	config "k8s.io/kube-scheduler/config/v1"

	"kubus.dev/services/scheduler/internal/shape"
)

// filters are the plugins whose filters can be turned off.
var filters = map[string]shape.Plugin{
	"NodeName": shape.NodeName, "NodeUnschedulable": shape.NodeUnschedulable, "TaintToleration": shape.TaintToleration,
	"NodeAffinity": shape.NodeAffinity, "NodePorts": shape.NodePorts, "NodeResourcesFit": shape.NodeResourcesFit,
	"VolumeRestrictions": shape.VolumeRestrictions, "NodeVolumeLimits": shape.NodeVolumeLimits, "VolumeBinding": shape.VolumeBinding,
	"VolumeZone": shape.VolumeZone, "PodTopologySpread": shape.PodTopologySpread, "InterPodAffinity": shape.InterPodAffinity,
	"NodeDeclaredFeatures": shape.NodeDeclaredFeatures,
}

// needed plugins have parts that cannot be done without here.
var needed = []string{"SchedulingGates", "PrioritySort", "DefaultBinder", "DynamicResources"}

const preemption = "DefaultPreemption"

// weight finds a score plugin's, nil for a plugin without.
func weight(w *shape.Weights, name string) *int64 {
	switch name {
	case "TaintToleration":
		return &w.TaintToleration
	case "NodeAffinity":
		return &w.NodeAffinity
	case "NodeResourcesFit":
		return &w.NodeResourcesFit
	case "NodeResourcesBalancedAllocation":
		return &w.BalancedAllocation
	case "PodTopologySpread":
		return &w.PodTopologySpread
	case "InterPodAffinity":
		return &w.InterPodAffinity
	case "VolumeBinding":
		return &w.VolumeBinding
	case "ImageLocality":
		return &w.ImageLocality
	}
	return nil
}

// known tells whether a plugin exists.
func known(name string) bool {
	return filters[name] != 0 || weight(&shape.Weights{}, name) != nil || name == preemption || slices.Contains(needed, name)
}

// point is an extension point at which plugins can be turned on and off.
type point struct {
	name string
	set  *config.PluginSet
	// off and on are what it means there.
	off func(p *shape.Profile, plugin string)
	on  func(p *shape.Profile, plugin string, weight *int32)
}

// plugins applies what is turned off, then what is turned on, first for all points at once.
func plugins(p *shape.Profile, c *config.Plugins) error {
	var errs []error
	for _, at := range []point{
		{"multiPoint", &c.MultiPoint, everywhereOff, everywhereOn},
		{"filter", &c.Filter, filterOff, func(p *shape.Profile, name string, _ *int32) { p.Off &^= filters[name] }},
		{"score", &c.Score, scoreOff, scoreOn},
		{"postFilter", &c.PostFilter, func(p *shape.Profile, name string) { p.Preempts = p.Preempts && name != preemption },
			func(p *shape.Profile, name string, _ *int32) { p.Preempts = p.Preempts || name == preemption }},
	} {
		errs = append(errs, at.apply(p)...)
	}
	for name, set := range map[string]*config.PluginSet{
		"preEnqueue": &c.PreEnqueue, "queueSort": &c.QueueSort, "preFilter": &c.PreFilter, "preScore": &c.PreScore, "reserve": &c.Reserve,
		"permit": &c.Permit, "preBind": &c.PreBind, "bind": &c.Bind, "postBind": &c.PostBind,
		"placementGenerate": &c.PlacementGenerate, "placementScore": &c.PlacementScore, "podGroupPostFilter": &c.PodGroupPostFilter,
	} {
		if len(set.Enabled)+len(set.Disabled) > 0 {
			errs = append(errs, fmt.Errorf("plugins.%s: plugins are turned on and off at multiPoint, filter, score and postFilter", name))
		}
	}
	return errors.Join(errs...)
}

func (at *point) apply(p *shape.Profile) []error {
	var errs []error
	for i, plugin := range at.set.Disabled {
		switch {
		case plugin.Name == "*":
			for _, name := range every() {
				at.off(p, name)
			}
		case !known(plugin.Name): // as upstream: what is not there is off already
		case at.name == "multiPoint" && slices.Contains(needed, plugin.Name):
			errs = append(errs, fmt.Errorf("plugins.%s.disabled[%d]: %s cannot be turned off", at.name, i, plugin.Name))
		default:
			at.off(p, plugin.Name)
		}
	}
	for i, plugin := range at.set.Enabled {
		switch {
		case !known(plugin.Name):
			errs = append(errs, fmt.Errorf("plugins.%s.enabled[%d]: plugin %q does not exist", at.name, i, plugin.Name))
		case plugin.Weight != nil && (*plugin.Weight < 0 || *plugin.Weight > 1000):
			errs = append(errs, fmt.Errorf("plugins.%s.enabled[%d].weight: %d, must be 0 to 1000", at.name, i, *plugin.Weight))
		default:
			at.on(p, plugin.Name, plugin.Weight)
		}
	}
	return errs
}

// every lists the plugins that can be turned off.
func every() []string {
	out := []string{preemption, "NodeResourcesBalancedAllocation", "ImageLocality"}
	for name := range filters {
		out = append(out, name)
	}
	return out
}

func everywhereOff(p *shape.Profile, name string) {
	filterOff(p, name)
	scoreOff(p, name)
	p.Preempts = p.Preempts && name != preemption
}

func everywhereOn(p *shape.Profile, name string, weight *int32) {
	p.Off &^= filters[name]
	scoreOn(p, name, weight)
	p.Preempts = p.Preempts || name == preemption
}

func filterOff(p *shape.Profile, name string) { p.Off |= filters[name] }

func scoreOff(p *shape.Profile, name string) {
	if w := weight(&p.Weights, name); w != nil {
		*w = 0
	}
}

// scoreOn gives a plugin its weight; as upstream, 1 when none is named.
func scoreOn(p *shape.Profile, name string, said *int32) {
	if w := weight(&p.Weights, name); w != nil {
		if *w = 1; said != nil && *said != 0 {
			*w = int64(*said)
		}
	}
}

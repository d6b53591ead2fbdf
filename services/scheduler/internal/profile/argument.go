package profile

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	config "k8s.io/kube-scheduler/config/v1"
	"sigs.k8s.io/yaml"

	"kubus.dev/services/scheduler/internal/shape"
)

// arguments takes over those of one plugin.
func arguments(p *shape.Profile, plugin string, raw []byte) error {
	switch plugin {
	case "NodeAffinity":
		return with(raw, func(a *config.NodeAffinityArgs) error { return added(p, a.AddedAffinity) })
	case "NodeResourcesFit":
		return with(raw, func(a *config.NodeResourcesFitArgs) error { return fit(p, a) })
	case "NodeResourcesBalancedAllocation":
		return with(raw, func(a *config.NodeResourcesBalancedAllocationArgs) error { return balanced(a.Resources) })
	case "PodTopologySpread":
		return with(raw, func(a *config.PodTopologySpreadArgs) error { return spread(p, a) })
	case "InterPodAffinity":
		return with(raw, func(a *config.InterPodAffinityArgs) error {
			p.IgnorePreferred = a.IgnorePreferredTermsOfExistingPods
			if w := a.HardPodAffinityWeight; w != nil {
				p.HardAffinity = int64(*w)
			}
			if p.HardAffinity < 0 || p.HardAffinity > 100 {
				return fmt.Errorf("hardPodAffinityWeight: %d, must be 0 to 100", p.HardAffinity)
			}
			return nil
		})
	case preemption:
		return with(raw, func(a *config.DefaultPreemptionArgs) error { return candidates(p, a) })
	case "VolumeBinding":
		return with(raw, func(a *config.VolumeBindingArgs) error { // the time is not limited
			if len(a.Shape) == 0 {
				return nil
			}
			points, err := line(a.Shape, "shape")
			p.Storage = points
			return err
		})
	}
	if !known(plugin) {
		return errors.New("the plugin does not exist")
	}
	return errors.New("the plugin takes no arguments here")
}

// with reads the arguments of a plugin.
func with[T any](raw []byte, use func(*T) error) error {
	args := new(T)
	if len(raw) > 0 {
		if err := yaml.UnmarshalStrict(raw, args); err != nil {
			return err
		}
	}
	return use(args)
}

func added(p *shape.Profile, a *corev1.NodeAffinity) error {
	if a == nil {
		return nil
	}
	if required := a.RequiredDuringSchedulingIgnoredDuringExecution; required != nil {
		selector, err := nodeaffinity.NewNodeSelector(required)
		if err != nil {
			return fmt.Errorf("addedAffinity: %w", err)
		}
		p.Added = selector
	}
	if _, err := nodeaffinity.NewPreferredSchedulingTerms(a.PreferredDuringSchedulingIgnoredDuringExecution); err != nil {
		return fmt.Errorf("addedAffinity: %w", err)
	}
	p.AddedPreferred = a.PreferredDuringSchedulingIgnoredDuringExecution
	return nil
}

// line reads the points of a scoring function, which have upstream's scale of 0 to 10.
func line(points []config.UtilizationShapePoint, path string) ([]shape.Point, error) {
	var out []shape.Point
	var errs []error
	last := int64(-1)
	for i, at := range points {
		if int64(at.Utilization) <= last || at.Utilization > 100 || at.Score < 0 || at.Score > 10 {
			errs = append(errs, fmt.Errorf("%s[%d]: utilization %d, score %d; must grow from 0 to 100, and be 0 to 10", path, i, at.Utilization, at.Score))
		}
		last = int64(at.Utilization)
		out = append(out, shape.Point{Utilization: last, Score: int64(at.Score) * 10})
	}
	return out, errors.Join(errs...)
}

func fit(p *shape.Profile, a *config.NodeResourcesFitArgs) error {
	var errs []error
	if len(a.IgnoredResources)+len(a.IgnoredResourceGroups) > 0 {
		errs = append(errs, errors.New("ignoredResources, ignoredResourceGroups: no resource can be ignored here"))
	}
	s := a.ScoringStrategy
	if s == nil {
		return errors.Join(errs...)
	}
	switch s.Type {
	case config.LeastAllocated, "":
	case config.MostAllocated:
		p.Strategy = shape.MostAllocated
	case config.RequestedToCapacityRatio:
		p.Strategy = shape.CapacityRatio
		if s.RequestedToCapacityRatio == nil || len(s.RequestedToCapacityRatio.Shape) == 0 {
			errs = append(errs, errors.New("scoringStrategy.requestedToCapacityRatio.shape: at least one point must be there"))
			break
		}
		points, err := line(s.RequestedToCapacityRatio.Shape, "scoringStrategy.requestedToCapacityRatio.shape")
		p.Points, errs = points, append(errs, err)
	default:
		errs = append(errs, fmt.Errorf("scoringStrategy.type: %q is none of LeastAllocated, MostAllocated, RequestedToCapacityRatio", s.Type))
	}
	if len(s.Resources) > 0 {
		p.Fit = nil
	}
	for i, r := range s.Resources {
		if r.Weight == 0 {
			r.Weight = 1
		}
		if r.Weight < 1 || r.Weight > 100 {
			errs = append(errs, fmt.Errorf("scoringStrategy.resources[%d].weight: %d, must be 1 to 100", i, r.Weight))
		}
		p.Fit = append(p.Fit, shape.Weighted{Name: r.Name, Weight: r.Weight})
	}
	return errors.Join(errs...)
}

// balanced knows cpu and memory only.
func balanced(resources []config.ResourceSpec) error {
	names := map[string]bool{}
	for _, r := range resources {
		names[r.Name] = true
	}
	if len(names) > 0 && (len(names) != 2 || !names["cpu"] || !names["memory"]) {
		return errors.New("resources: cpu and memory are balanced, nothing else")
	}
	return nil
}

func spread(p *shape.Profile, a *config.PodTopologySpreadArgs) error {
	switch a.DefaultingType {
	case config.SystemDefaulting, "":
		if len(a.DefaultConstraints) > 0 {
			return errors.New("defaultConstraints: need defaultingType List")
		}
	case config.ListDefaulting:
		p.System, p.Defaults = false, a.DefaultConstraints
	default:
		return fmt.Errorf("defaultingType: %q is none of System, List", a.DefaultingType)
	}
	var errs []error
	for i := range a.DefaultConstraints {
		c := &a.DefaultConstraints[i]
		if c.MaxSkew < 1 || c.TopologyKey == "" || c.LabelSelector != nil || c.WhenUnsatisfiable != corev1.DoNotSchedule && c.WhenUnsatisfiable != corev1.ScheduleAnyway {
			errs = append(errs, fmt.Errorf("defaultConstraints[%d]: must have a maxSkew above 0, a topologyKey, whenUnsatisfiable, and no labelSelector", i))
		}
	}
	return errors.Join(errs...)
}

func candidates(p *shape.Profile, a *config.DefaultPreemptionArgs) error {
	if n := a.MinCandidateNodesPercentage; n != nil {
		p.LeastPercent = int(*n)
	}
	if n := a.MinCandidateNodesAbsolute; n != nil {
		p.LeastAbsolute = int(*n)
	}
	if p.LeastPercent < 0 || p.LeastPercent > 100 || p.LeastAbsolute < 0 || p.LeastPercent+p.LeastAbsolute == 0 {
		return fmt.Errorf("minCandidateNodesPercentage, minCandidateNodesAbsolute: %d, %d; must be 0 to 100, at least 0, and not both 0", p.LeastPercent, p.LeastAbsolute)
	}
	return nil
}

package controllers

import (
	"fmt"
	"regexp"
	"time"

	"sigs.k8s.io/yaml"
)

// Options choose sequences.
type Options struct {
	// Seed makes Random sequences.
	Seed   uint64
	Random int
	// Only keeps those whose SUITE/NAME matches; nil: all.
	Only *regexp.Regexp
}

// Sequences are all stories, the written ones first.
func Sequences(o Options) []*Sequence {
	var out []*Sequence
	for _, suite := range [][]*Sequence{
		deployments(), replicaSets(), statefulSets(), daemonSets(), jobs(), cronJobs(), services(), policies(), volumes(),
		garbage(), namespaces(), nodeLosses(), certificates(), roles(), accounts(), autoscalers(), random(o.Seed, o.Random),
	} {
		out = append(out, suite...)
	}
	var chosen []*Sequence
	for _, s := range out {
		if o.Only == nil || o.Only.MatchString(s.Suite+"/"+s.Name) {
			chosen = append(chosen, framed(s))
		}
	}
	return chosen
}

// framed puts the making of a sequence's namespace before its steps and its end after
// them.
func framed(s *Sequence) *Sequence {
	steps := []Step{{Name: "a namespace", Do: []Action{Create("namespaces", "metadata: {name: SELF}")}, Await: func(o Objects) bool {
		return o.Get("serviceaccounts", "default") != nil && o.Get("configmaps", "kube-root-ca.crt") != nil
	}}}
	steps = append(steps, s.Steps...)
	steps = append(steps, Step{Name: "the end", Do: []Action{endScope}, Await: emptied})
	names := map[string]bool{}
	for i := range steps {
		if names[steps[i].Name] {
			steps[i].Name += fmt.Sprint(" ", i)
		}
		names[steps[i].Name] = true
	}
	return &Sequence{Name: s.Name, Suite: s.Suite, Steps: steps}
}

// story makes a sequence.
func story(suite, name string, steps ...Step) *Sequence {
	return &Sequence{Name: name, Suite: suite, Steps: steps}
}

// do makes a step.
func do(name string, actions ...Action) Step { return Step{Name: name, Do: actions} }

// until makes the step wait for something.
func (s Step) until(await func(Objects) bool) Step {
	s.Await = await
	return s
}

// patient makes the step wait longer before a difference counts.
func (s Step) patient(d time.Duration) Step {
	s.Patience = d
	return s
}

// gone tells that an object is no more.
func gone(resource, name string) func(Objects) bool {
	return func(o Objects) bool { return o.Get(resource, name) == nil }
}

// condition tells that an object's condition has a status.
func condition(resource, name, kind, status string) func(Objects) bool {
	return func(o Objects) bool {
		for _, c := range list(o.Get(resource, name), "status", "conditions") {
			if str(c, "type") == kind && str(c, "status") == status {
				return true
			}
		}
		return false
	}
}

// nodes is the step that makes as many nodes.
func nodes(n int) Step {
	s := Step{Name: "nodes"}
	for i := range n {
		s.Do = append(s.Do, AddNode(fmt.Sprint("n", i+1)))
	}
	return s
}

func yamlDoc(manifest string) Object {
	doc := Object{}
	if err := yaml.Unmarshal([]byte(manifest), &doc); err != nil {
		panic(fmt.Sprintf("%v in:\n%s", err, manifest))
	}
	return doc
}

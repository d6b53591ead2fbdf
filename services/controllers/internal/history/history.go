// Package history keeps the past of a workload's pod template as
// ControllerRevisions, as StatefulSets and DaemonSets do and as kubectl rollout
// reads them.
//
// A revision is a strategic merge patch that replaces spec.template. Its bytes, its
// hash and its name are those of upstream's pkg/controller/history, so that a set
// which comes here from another control plane, or goes there, keeps its revisions.
// A revision's data never changes; going back to an earlier template gives that
// template's revision the highest number again:
//
//	template new                      template as of an older revision
//	 ---> (created, number n+1)       (number k) --> (number n+1)
//	older than revisionHistoryLimit and used by no pod --> (deleted)
//
// The functions of this file are pure; Store reads and writes.
package history

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

// HashLabel holds the hash that is part of a StatefulSet revision's name.
const HashLabel = "controller.kubernetes.io/hash"

// longestPrefix is what of the parent's name goes into a revision's.
const longestPrefix = 223

// Data is the patch that brings a workload back to the template. Two templates are
// the same revision exactly if their Data is.
func Data(template *corev1.PodTemplateSpec) ([]byte, error) {
	encoded, err := json.Marshal(template)
	if err != nil {
		return nil, fmt.Errorf("encoding pod template: %w", err)
	}
	var fields map[string]any // which JSON orders by name
	if err := json.Unmarshal(encoded, &fields); err != nil {
		return nil, fmt.Errorf("encoding pod template: %w", err)
	}
	fields["$patch"] = "replace"
	return json.Marshal(map[string]any{"spec": map[string]any{"template": fields}})
}

// ErrNoTemplate: a revision's data is no patch that replaces the pod template.
var ErrNoTemplate = errors.New("the revision holds no pod template")

// Template is the one a revision brings back.
func Template(r *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var patch struct {
		Spec struct {
			Template *struct {
				corev1.PodTemplateSpec `json:",inline"`
				Patch                  string `json:"$patch"`
			} `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(r.Data.Raw, &patch); err != nil {
		return nil, fmt.Errorf("revision %s: %w: %w", r.Name, ErrNoTemplate, err)
	}
	if patch.Spec.Template == nil || patch.Spec.Template.Patch != "replace" {
		return nil, fmt.Errorf("revision %s: %w", r.Name, ErrNoTemplate)
	}
	return &patch.Spec.Template.PodTemplateSpec, nil
}

// Hash is that of a revision's data after so many collisions of names.
func Hash(data []byte, collisions int32) string {
	hash := fnv.New32()
	hash.Write(data)
	hash.Write(strconv.AppendInt(nil, int64(collisions), 10))
	return rand.SafeEncodeString(strconv.FormatUint(uint64(hash.Sum32()), 10))
}

// Name is <parent>-<hash>, the parent's name shortened where needed.
func Name(parent, hash string) string {
	return parent[:min(len(parent), longestPrefix)] + "-" + hash
}

// Same tells whether two revisions bring back the same template.
func Same(a, b *appsv1.ControllerRevision) bool { return bytes.Equal(a.Data.Raw, b.Data.Raw) }

// Sort orders revisions by number, then age, then name.
func Sort(revisions []*appsv1.ControllerRevision) {
	slices.SortStableFunc(revisions, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(
			cmp.Compare(a.Revision, b.Revision),
			a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
			cmp.Compare(a.Name, b.Name),
		)
	})
}

// Next is the number after the highest of the revisions; 1 without any.
func Next(revisions []*appsv1.ControllerRevision) int64 {
	highest := int64(0)
	for _, r := range revisions {
		highest = max(highest, r.Revision)
	}
	return highest + 1
}

// Oldest gives the count first of the revisions, in the order of Sort, that are not
// live: what a limit makes superfluous.
func Oldest(revisions []*appsv1.ControllerRevision, count int, live func(*appsv1.ControllerRevision) bool) []*appsv1.ControllerRevision {
	sorted := slices.Clone(revisions)
	Sort(sorted)
	var out []*appsv1.ControllerRevision
	for _, r := range sorted {
		if len(out) < count && !live(r) {
			out = append(out, r)
		}
	}
	return out
}

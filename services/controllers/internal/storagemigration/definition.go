package storagemigration

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/services/controllers/internal/write"
)

// manager owns a definition's condition, as upstream's.
const manager = "migration-runner-controller"

const (
	definitions = "customresourcedefinitions"
	group       = "apiextensions.k8s.io"
	migrating   = "StorageMigrating"
)

// definition is what is read of a CustomResourceDefinition.
type definition struct {
	Metadata metav1.ObjectMeta `json:"metadata"`
	Spec     struct {
		Versions []struct {
			Name    string `json:"name"`
			Storage bool   `json:"storage"`
		} `json:"versions"`
	} `json:"spec"`
	Status struct {
		Conditions []definitionCondition `json:"conditions"`
	} `json:"status"`
}

type definitionCondition struct {
	Type               string      `json:"type"`
	Status             string      `json:"status"`
	Reason             string      `json:"reason"`
	Message            string      `json:"message"`
	LastTransitionTime metav1.Time `json:"lastTransitionTime"`
	ObservedGeneration int64       `json:"observedGeneration,omitempty"`
}

// definition reads the definition of a migration's resource; nil: it is no custom one.
func (c *controller) definition(ctx context.Context, m *migration) (*definition, error) {
	name := m.Spec.Resource.Resource + "." + m.Spec.Resource.Group
	body, err := c.writer.Read(ctx, write.Path(group, "v1", "", definitions, name))
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the definition %s: %w", name, err)
	}
	d := &definition{}
	if err := json.Unmarshal(body, d); err != nil {
		return nil, fmt.Errorf("reading the definition %s: %w", name, err)
	}
	return d, nil
}

// markDefinition says in a custom resource's definition that a migration runs.
func (c *controller) markDefinition(ctx context.Context, m *migration) error {
	d, err := c.definition(ctx, m)
	if err != nil || d == nil {
		return err
	}
	return c.applyDefinition(ctx, d, "True", reasonRunning, fmt.Sprintf("Migration %s is running", m.Name), nil)
}

// settleDefinition says how it ended, and that older versions are stored no more.
func (c *controller) settleDefinition(ctx context.Context, m *migration) error {
	d, err := c.definition(ctx, m)
	if err != nil || d == nil {
		return err
	}
	reason, message, stored := settled(d, succeeded(m))
	return c.applyDefinition(ctx, d, "False", reason, message, stored)
}

// settled is what is said of a definition after a migration. stored is what its stored
// versions are from now on; nil: they stay, since it changed meanwhile.
func settled(d *definition, success bool) (reason, message string, stored []string) {
	unchanged := false
	for _, c := range d.Status.Conditions {
		unchanged = unchanged || c.Type == migrating && c.ObservedGeneration == d.Metadata.Generation
	}
	if unchanged {
		for _, v := range d.Spec.Versions {
			if v.Storage {
				stored = []string{v.Name}
			}
		}
	}
	switch {
	case !success:
		return "MigrationFailed", "The migration has failed", nil
	case unchanged:
		return "MigrationSucceeded", "The migration has succeeded and the stored versions have been updated", stored
	}
	return "MigrationSucceeded", "The migration has succeeded but the stored versions have not been updated due to a generation mismatch", nil
}

func (c *controller) applyDefinition(ctx context.Context, d *definition, status, reason, message string, stored []string) error {
	state := map[string]any{"conditions": []definitionCondition{{
		Type: migrating, Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(time.Now()), ObservedGeneration: d.Metadata.Generation,
	}}}
	if stored != nil {
		state["storedVersions"] = stored
	}
	request, err := write.Apply(write.Path(group, "v1", "", definitions, d.Metadata.Name, "status"), manager, map[string]any{
		"apiVersion": group + "/v1", "kind": "CustomResourceDefinition", "status": state,
		// The resourceVersion is the condition: a change would make the generation wrong.
		"metadata": map[string]any{"name": d.Metadata.Name, "resourceVersion": d.Metadata.ResourceVersion},
	})
	if err != nil {
		return err
	}
	if _, err := c.writer.One(ctx, request); err != nil {
		return fmt.Errorf("writing the definition %s: %w", d.Metadata.Name, err)
	}
	return nil
}

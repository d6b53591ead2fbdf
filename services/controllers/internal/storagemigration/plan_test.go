package storagemigration

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	migrationv1 "k8s.io/api/storagemigration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var noon = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

// newMigration has the conditions named, all True.
func newMigration(name string, made time.Duration, conditions ...migrationv1.MigrationConditionType) *migration {
	m := &migration{ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(noon.Add(made))}}
	for _, of := range conditions {
		m.Status.Conditions = append(m.Status.Conditions, condition(of, metav1.ConditionTrue, "x", "", noon))
	}
	return m
}

func TestOneMigrationOfAResourceRunsAtATime(t *testing.T) {
	t.Parallel()
	const run, success, failure = migrationv1.MigrationRunning, migrationv1.MigrationSucceeded, migrationv1.MigrationFailed
	for _, c := range []struct {
		name, close, running, promote string
		all                           []*migration
	}{
		{name: "none is there"},
		{name: "the oldest is first", all: []*migration{newMigration("b", 1), newMigration("a", 2), newMigration("c", 3)}, promote: "b"},
		{name: "of the same age by name", all: []*migration{newMigration("b", 1), newMigration("a", 1)}, promote: "a"},
		{name: "while one runs nobody else begins", all: []*migration{newMigration("a", 1), newMigration("b", 2, run), newMigration("c", 0)}, running: "b"},
		{name: "what has ended is closed, and the next begins", all: []*migration{newMigration("a", 1, run, success), newMigration("b", 2), newMigration("c", 0, run, failure)}, close: "ac", promote: "b"},
		{name: "what is closed stays", all: []*migration{newMigration("a", 1, success), newMigration("b", 1, failure)}},
	} {
		got := plan(c.all)
		var closed strings.Builder
		for _, m := range got.Close {
			closed.WriteString(m.Name)
		}
		name := func(m *migration) string {
			if m == nil {
				return ""
			}
			return m.Name
		}
		if closed.String() != c.close || name(got.Running) != c.running || name(got.Promote) != c.promote {
			t.Errorf("%s: got close %q, running %q, promote %q", c.name, closed.String(), name(got.Running), name(got.Promote))
		}
	}
}

func TestProgressIsToldAsUpstreamDoes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		left, total int
		trouble     error
		want        string
	}{
		{0, 0, nil, "The migration is running"},
		{3, 7, nil, "The migration is running, 3/7 objects not yet migrated"},
		{0, 7, nil, "The migration is running, 7 objects verified migrated"},
		{3, 7, errors.New("busy"), "The migration is running, 3/7 objects not yet migrated; transient error: busy"},
	} {
		if got := progress(c.left, c.total, c.trouble); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestWhatAnAnswerMeans(t *testing.T) {
	t.Parallel()
	gr := schema.GroupResource{Resource: "things"}
	for _, c := range []struct {
		err  error
		want outcome
	}{
		{nil, written}, {apierrors.NewConflict(gr, "x", nil), written}, {apierrors.NewNotFound(gr, "x"), written},
		{apierrors.NewTooManyRequests("x", 1), again}, {apierrors.NewServiceUnavailable("x"), again}, {apierrors.NewInternalError(errors.New("x")), again},
		{apierrors.NewForbidden(gr, "x", nil), broken}, {apierrors.NewBadRequest("x"), broken}, {fmt.Errorf("what"), broken},
	} {
		if got := judge(c.err); got != c.want {
			t.Errorf("%v: got %v, want %v", c.err, got, c.want)
		}
	}
}

func TestStoredVersionsAreForgottenIfTheDefinitionDidNotChange(t *testing.T) {
	t.Parallel()
	newDefinition := func(generation, observed int64) *definition {
		d := &definition{Metadata: metav1.ObjectMeta{Generation: generation}}
		d.Status.Conditions = []definitionCondition{{Type: "Established"}, {Type: migrating, ObservedGeneration: observed}}
		d.Spec.Versions = append(d.Spec.Versions, struct {
			Name    string `json:"name"`
			Storage bool   `json:"storage"`
		}{"v1", false}, struct {
			Name    string `json:"name"`
			Storage bool   `json:"storage"`
		}{"v2", true})
		return d
	}
	for _, c := range []struct {
		name                     string
		d                        *definition
		success                  bool
		reason, message, storing string
	}{
		{"a success", newDefinition(3, 3), true, "MigrationSucceeded", "The migration has succeeded and the stored versions have been updated", "v2"},
		{"a definition that changed meanwhile", newDefinition(4, 3), true, "MigrationSucceeded", "The migration has succeeded but the stored versions have not been updated due to a generation mismatch", ""},
		{"a failure", newDefinition(3, 3), false, "MigrationFailed", "The migration has failed", ""},
	} {
		reason, message, stored := settled(c.d, c.success)
		if reason != c.reason || message != c.message || strings.Join(stored, " ") != c.storing {
			t.Errorf("%s: got %s, %q, %v", c.name, reason, message, stored)
		}
	}
}

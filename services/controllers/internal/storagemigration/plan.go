package storagemigration

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	migrationv1 "k8s.io/api/storagemigration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	reasonRunning   = "MigrationRunning"
	reasonCompleted = "MigrationCompleted"
	reasonSucceeded = "StorageVersionMigrationSucceeded"
	reasonFailed    = "StorageVersionMigrationFailed"
)

type migration = migrationv1.StorageVersionMigration

// turn says whose turn it is among the migrations of one resource.
type turn struct {
	Close   []*migration // have ended and are still marked as running
	Running *migration   // goes on
	Promote *migration   // is to be marked as running: nothing else is
}

// plan lets the migrations of one resource run one at a time, the oldest first.
func plan(all []*migration) (t turn) {
	for _, m := range all {
		switch {
		case running(m) && ended(m):
			t.Close = append(t.Close, m)
		case running(m):
			t.Running = m
		case !ended(m) && (t.Promote == nil || older(m, t.Promote)):
			t.Promote = m
		}
	}
	if t.Running != nil {
		t.Promote = nil
	}
	return t
}

func running(m *migration) bool {
	return apimeta.IsStatusConditionTrue(m.Status.Conditions, string(migrationv1.MigrationRunning))
}

func succeeded(m *migration) bool {
	return apimeta.IsStatusConditionTrue(m.Status.Conditions, string(migrationv1.MigrationSucceeded))
}

func ended(m *migration) bool {
	return succeeded(m) || apimeta.IsStatusConditionTrue(m.Status.Conditions, string(migrationv1.MigrationFailed))
}

func older(a, b *migration) bool {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name)) < 0
}

// with is a migration with conditions set.
func with(m *migration, conditions ...metav1.Condition) *migration {
	m = m.DeepCopy()
	for _, c := range conditions {
		apimeta.SetStatusCondition(&m.Status.Conditions, c)
	}
	return m
}

func condition(of migrationv1.MigrationConditionType, status metav1.ConditionStatus, reason, message string, now time.Time) metav1.Condition {
	return metav1.Condition{Type: string(of), Status: status, Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(now)}
}

// progress is how far a migration has come; left of total objects are to be rewritten.
func progress(left, total int, trouble error) string {
	message := "The migration is running"
	switch {
	case total > 0 && left > 0:
		message += fmt.Sprintf(", %d/%d objects not yet migrated", left, total)
	case total > 0:
		message += fmt.Sprintf(", %d objects verified migrated", total)
	}
	if trouble != nil {
		message += "; transient error: " + trouble.Error()
	}
	return message
}

// outcome is what the answer to a rewrite means.
type outcome int

const (
	written outcome = iota // also: written by somebody else, or gone
	again
	broken
)

func judge(err error) outcome {
	switch {
	case err == nil, apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return written
	case apierrors.IsServerTimeout(err), apierrors.IsTooManyRequests(err), apierrors.IsServiceUnavailable(err), apierrors.IsInternalError(err), apierrors.IsTimeout(err):
		return again
	}
	return broken
}

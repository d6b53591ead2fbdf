// Package storagemigration rewrites all objects of a resource as they are, so that
// each is stored in the version that its kind is stored in today.
//
//	made --> its turn: Running, resourceVersion noted --> all objects that are no newer
//	             |                                         are written: Succeeded
//	             +--> no such resource, or a write that is refused: Failed
//	ended --> Running False; of a custom resource the old stored versions are forgotten
//
// One migration of a resource runs at a time. It goes on after a restart where it was:
// what has been rewritten is newer than the noted version. An object that others write
// meanwhile needs no rewrite.
package storagemigration

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"time"

	migrationv1 "k8s.io/api/storagemigration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubus.dev/proto"
	"kubus.dev/proto/apiclient"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/feed"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

const (
	user = "storage-version-migrator-controller"
	// patience is how long a resource that is not served may yet come.
	patience = time.Minute
	// chunk is how many objects are rewritten in one request.
	chunk = 250
)

type controller struct {
	migrations *mirror.Kind[migration]
	objects    frame.Objects[migration]
	views      *statelog.Views
	feed       *feed.Feed
	writer     *write.Client
	queue      *frame.Queue[metav1.GroupResource]
}

// Controller migrates.
func Controller() frame.Definition {
	return frame.Definition{Name: "storage-version-migrator", User: user, Make: func(e *frame.Env) (frame.Loop, error) {
		c := &controller{
			migrations: e.World.StorageVersionMigrations, objects: frame.Of(e, e.World.StorageVersionMigrations),
			views: e.Views, feed: e.Feed, writer: e.Writer,
		}
		c.queue = frame.Keyed(e, c.reconcile, frame.On(c.migrations, func(old, new *migration, add func(metav1.GroupResource)) {
			if new != nil {
				add(new.Spec.Resource)
			} else {
				add(old.Spec.Resource)
			}
		}))
		e.Feed.Subscribe(c)
		return c.queue, nil
	}}
}

// Replace implements feed.Subscriber.
func (c *controller) Replace(*feed.Resource, statelog.Snapshot) {}

// Change implements feed.Subscriber.
func (c *controller) Change(*feed.Resource, statelog.Event) {}

// Catalog implements feed.Subscriber: what a migration waits for may be served now.
func (c *controller) Catalog(*feed.Catalog) {
	for _, m := range c.migrations.List("") {
		if !ended(m) {
			c.queue.Add(m.Spec.Resource)
		}
	}
}

func (c *controller) reconcile(ctx context.Context, of metav1.GroupResource) (time.Duration, error) {
	var all []*migration
	for _, m := range c.migrations.List("") {
		if m.Spec.Resource == of {
			all = append(all, m)
		}
	}
	t := plan(all)
	for _, m := range t.Close {
		if err := c.close(ctx, m); err != nil {
			return 0, err
		}
	}
	if t.Promote != nil {
		if err := c.open(ctx, t.Promote); err != nil {
			return 0, err
		}
		return 0, nil // its change wakes us
	}
	if t.Running != nil {
		return c.run(ctx, t.Running)
	}
	return 0, nil
}

// open marks a migration as the one that runs.
func (c *controller) open(ctx context.Context, m *migration) error {
	if err := c.markDefinition(ctx, m); err != nil {
		return err
	}
	return c.save(ctx, with(m, condition(migrationv1.MigrationRunning, metav1.ConditionTrue, reasonRunning, progress(0, 0, nil), time.Now())))
}

// close takes the mark away from one that has ended.
func (c *controller) close(ctx context.Context, m *migration) error {
	if err := c.settleDefinition(ctx, m); err != nil {
		return err
	}
	done := condition(migrationv1.MigrationRunning, metav1.ConditionFalse, reasonCompleted, "Migration completed", time.Now())
	done.ObservedGeneration = m.Generation
	return c.save(ctx, with(m, done))
}

func (c *controller) save(ctx context.Context, m *migration) error {
	_, err := c.objects.UpdateStatus(ctx, m)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("writing the migration's status: %w", err)
	}
	return nil
}

func (c *controller) fail(ctx context.Context, m *migration, message string, more ...metav1.Condition) error {
	return c.save(ctx, with(m, append(more, condition(migrationv1.MigrationFailed, metav1.ConditionTrue, reasonFailed, message, time.Now()))...))
}

// run takes the next step of a migration.
func (c *controller) run(ctx context.Context, m *migration) (time.Duration, error) {
	gr := proto.GroupResource{Group: m.Spec.Resource.Group, Resource: m.Spec.Resource.Resource}
	resource := served(c.feed.Catalog(), gr)
	switch {
	case resource == nil:
		if left := time.Until(m.CreationTimestamp.Add(patience)); left > 0 {
			return left, nil
		}
		return 0, c.fail(ctx, m, "resource does not exist in discovery")
	case !resource.Can("update") || !resource.Can("patch") || !resource.Can("list"):
		return 0, c.fail(ctx, m, fmt.Sprintf("resource %q does not support discovery operations: %v", gr, []string{"update", "patch", "list"}))
	case c.elsewhere(resource):
		return 0, c.fail(ctx, m, fmt.Sprintf("migration encountered unhandled error: objects of %s are stored by another server", gr))
	}
	content := c.views.For(gr).Snapshot(gr)
	if m.Status.ResourceVersion == "" {
		next := m.DeepCopy()
		next.Status.ResourceVersion = strconv.FormatUint(content.Revision(), 10)
		return 0, c.save(ctx, next)
	}
	upTo, err := strconv.ParseUint(m.Status.ResourceVersion, 10, 64)
	if err != nil {
		return 0, c.fail(ctx, m, fmt.Sprintf("migration encountered unhandled error: %v", err))
	}
	return 0, c.rewrite(ctx, m, resource, content, upTo)
}

// elsewhere is true of resources whose objects are not in the log.
func (c *controller) elsewhere(r *feed.Resource) bool {
	services := proto.GroupResource{Group: "apiregistration.k8s.io", Resource: "apiservices"}
	entry := c.views.For(services).Snapshot(services).Get("", r.Version+"."+r.Group)
	if entry == nil {
		return false
	}
	var service struct {
		Spec struct {
			Service *struct{} `json:"service"`
		} `json:"spec"`
	}
	return json.Unmarshal(entry.Data(), &service) == nil && service.Spec.Service != nil
}

func served(catalog *feed.Catalog, gr proto.GroupResource) *feed.Resource {
	for i := range catalog.Resources {
		if catalog.Resources[i].GroupResource == gr {
			return &catalog.Resources[i]
		}
	}
	return nil
}

// rewrite patches nothing but the version into every object that was there when the
// migration began.
func (c *controller) rewrite(ctx context.Context, m *migration, resource *feed.Resource, content statelog.Snapshot, upTo uint64) error {
	var entries []*statelog.Entry
	content.Ascend("", func(e *statelog.Entry) bool {
		if e.Revision() <= upTo {
			entries = append(entries, e)
		}
		return true
	})
	total, left := content.Len(), len(entries)
	for len(entries) > 0 {
		n := min(chunk, len(entries))
		answers, err := c.send(ctx, resource, entries[:n])
		if err != nil {
			return err
		}
		var trouble error
		for _, answer := range answers {
			switch judge(answer.Err) {
			case written:
				left--
			case again:
				trouble = answer.Err
			case broken:
				now := time.Now()
				return c.fail(ctx, m, fmt.Sprintf("%d/%d not yet migrated. migration encountered unhandled error: %s", left, total, answer.Err),
					condition(migrationv1.MigrationRunning, metav1.ConditionTrue, reasonRunning, progress(left, total, nil), now))
			}
		}
		if trouble != nil {
			return c.later(ctx, m, left, total, trouble)
		}
		entries = entries[n:]
	}
	now := time.Now()
	return c.save(ctx, with(m,
		condition(migrationv1.MigrationRunning, metav1.ConditionTrue, reasonRunning, progress(left, total, nil), now),
		condition(migrationv1.MigrationSucceeded, metav1.ConditionTrue, reasonSucceeded, "Migration completed", now)))
}

// later says what keeps a migration, which then is tried again.
func (c *controller) later(ctx context.Context, m *migration, left, total int, trouble error) error {
	message := progress(left, total, trouble)
	if has := apimeta.FindStatusCondition(m.Status.Conditions, string(migrationv1.MigrationRunning)); has == nil || has.Message != message {
		if err := c.save(ctx, with(m, condition(migrationv1.MigrationRunning, metav1.ConditionTrue, reasonRunning, message, time.Now()))); err != nil {
			return err
		}
	}
	return fmt.Errorf("rewriting %s: %w", m.Spec.Resource, trouble)
}

func (c *controller) send(ctx context.Context, resource *feed.Resource, entries []*statelog.Entry) ([]apiclient.Result, error) {
	apiVersion := resource.Version
	if resource.Group != "" {
		apiVersion = resource.Group + "/" + resource.Version
	}
	requests := make([]apiclient.Request, len(entries))
	for i, e := range entries {
		path := write.Path(resource.Group, resource.Version, e.Key().Namespace, resource.GroupResource.Resource, e.Key().Name)
		request, err := write.Merge(path, map[string]any{
			"apiVersion": apiVersion, "kind": resource.Kind, "metadata": map[string]any{"resourceVersion": strconv.FormatUint(e.Revision(), 10)},
		})
		if err != nil {
			return nil, err
		}
		request.Query = url.Values{"fieldManager": {user}}
		requests[i] = request
	}
	answers, err := c.writer.Do(ctx, requests...)
	if err != nil {
		return nil, fmt.Errorf("rewriting %s: %w", resource.GroupResource, err)
	}
	return answers, nil
}

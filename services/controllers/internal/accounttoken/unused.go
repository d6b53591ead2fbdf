package accounttoken

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

type cleaner struct {
	secrets  *mirror.Kind[corev1.Secret]
	accounts *mirror.Kind[corev1.ServiceAccount]
	pods     *mirror.Kind[corev1.Pod]
	objects  frame.Objects[corev1.Secret]
	view     *statelog.View // of pods
	writer   *write.Client
	logger   *zap.Logger
	unused   time.Duration
}

// Unused marks, and later deletes, tokens that were made for accounts by themselves, as
// Kubernetes did before 1.24, and that nobody uses.
func Unused() frame.Definition {
	return frame.Definition{Name: "legacy-serviceaccount-token-cleaner", User: "legacy-service-account-token-cleaner", Workers: 1, Make: func(e *frame.Env) (frame.Loop, error) {
		c := &cleaner{
			e.World.Secrets, e.World.ServiceAccounts, e.World.Pods, frame.Of(e, e.World.Secrets), e.View(e.World.Pods.Resource()), e.Writer, e.Logger, e.Config.LegacyTokenCleanUpPeriod,
		}
		return frame.Keyed(e, c.reconcile,
			frame.On(c.secrets, func(_, new *corev1.Secret, add func(types.NamespacedName)) {
				if new != nil && isToken(new) {
					add(frame.KeyOf(new))
				}
			}),
			frame.On(c.accounts, func(_, new *corev1.ServiceAccount, add func(types.NamespacedName)) {
				if new == nil {
					return
				}
				for _, ref := range new.Secrets {
					add(types.NamespacedName{Namespace: new.Namespace, Name: ref.Name})
				}
			})), nil
	}}
}

// lookAgain is how often a token that may become unused is looked at.
const lookAgain = 24 * time.Hour

func (c *cleaner) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	secret := c.secrets.Get(key.Namespace, key.Name)
	if secret == nil || !isToken(secret) || secret.DeletionTimestamp != nil || !byItself(secret, c.accounts.Get(key.Namespace, secret.Annotations[corev1.ServiceAccountNameKey])) {
		return 0, nil
	}
	now := time.Now()
	if !idle(secret, now, c.unused) {
		return lookAgain, nil
	}
	since, err := c.notedSince(ctx)
	if err != nil {
		return 0, err
	}
	if now.Before(since.Add(c.unused)) || c.mounted(secret) {
		return lookAgain, nil
	}
	switch day, marked := invalidSince(secret); {
	case !marked:
		today := now.UTC().Format(time.DateOnly)
		c.logger.Info("token is not used and becomes invalid", zap.Stringer("secret", key), zap.String("since", today))
		_, err = c.objects.Patch(ctx, secret, map[string]any{"metadata": map[string]any{
			"uid": secret.UID, "labels": map[string]string{invalidSinceLabel: today},
		}}, "")
	case day < lastDay(now, c.unused):
		c.logger.Info("deleting a token that has been invalid for long", zap.Stringer("secret", key), zap.String("since", day))
		err = c.objects.Delete(ctx, secret, &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &secret.UID, ResourceVersion: &secret.ResourceVersion}})
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return 0, fmt.Errorf("cleaning token %s: %w", key, err)
	}
	return lookAgain, nil
}

// notedSince is from when on it is known for certain who uses a token: the day after
// the one on which the API began to note it.
func (c *cleaner) notedSince(ctx context.Context) (time.Time, error) {
	data, err := c.writer.Read(ctx, write.Path("", "v1", metav1.NamespaceSystem, "configmaps", trackingConfigMap))
	if err != nil {
		return time.Time{}, fmt.Errorf("asking since when uses of tokens are noted: %w", err)
	}
	var noted corev1.ConfigMap
	if err := json.Unmarshal(data, &noted); err != nil {
		return time.Time{}, fmt.Errorf("asking since when uses of tokens are noted: %w", err)
	}
	day, err := time.Parse(time.DateOnly, noted.Data["since"])
	if err != nil {
		return time.Time{}, fmt.Errorf("ConfigMap %s: since: %w", trackingConfigMap, err)
	}
	return day.AddDate(0, 0, 1), nil
}

// mounted tells whether a pod may use the Secret. There are many fields that name one,
// so any mention will do: a token that is kept for nothing does no harm.
func (c *cleaner) mounted(secret *corev1.Secret) (found bool) {
	name := []byte(strconv.Quote(secret.Name))
	c.view.Snapshot(c.pods.Resource()).Ascend(secret.Namespace, func(entry *statelog.Entry) bool {
		found = bytes.Contains(entry.Data(), name)
		return !found
	})
	return found
}

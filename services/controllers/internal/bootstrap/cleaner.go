package bootstrap

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

type cleaner struct {
	secrets *mirror.Kind[corev1.Secret]
	objects frame.Objects[corev1.Secret]
	writer  *write.Client
	logger  *zap.Logger
}

// Cleaner deletes tokens that have expired.
func Cleaner() frame.Definition {
	return frame.Definition{Name: "tokencleaner", User: "token-cleaner", Workers: 1, Make: func(e *frame.Env) (frame.Loop, error) {
		c := &cleaner{e.World.Secrets, frame.Of(e, e.World.Secrets), e.Writer, e.Logger}
		return frame.Keyed(e, c.reconcile, frame.On(c.secrets, func(_, new *corev1.Secret, add func(types.NamespacedName)) {
			if new != nil && isToken(new) {
				add(frame.KeyOf(new))
			}
		})), nil
	}}
}

func (c *cleaner) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	sealed := c.secrets.Get(key.Namespace, key.Name)
	if sealed == nil || !isToken(sealed) || sealed.DeletionTimestamp != nil {
		return 0, nil
	}
	secret, err := open(ctx, c.writer, sealed)
	if err != nil || secret == nil {
		return 0, err
	}
	left, expired := expiry(secret, time.Now())
	if !expired {
		return left, nil
	}
	c.logger.Info("bootstrap token has expired", zap.String("name", key.Name))
	if err := c.objects.Delete(ctx, secret, nil); err != nil && !apierrors.IsConflict(err) {
		return 0, fmt.Errorf("deleting an expired token: %w", err)
	}
	return 0, nil
}

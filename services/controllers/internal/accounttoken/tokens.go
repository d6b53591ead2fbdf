package accounttoken

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

type tokens struct {
	secrets  *mirror.Kind[corev1.Secret]
	accounts *mirror.Kind[corev1.ServiceAccount]
	objects  frame.Objects[corev1.Secret]
	users    frame.Objects[corev1.ServiceAccount]
	writer   *write.Client
}

// Tokens follows accounts with their tokens.
func Tokens() frame.Definition {
	return frame.Definition{Name: "serviceaccount-token", User: "tokens-controller", Make: func(e *frame.Env) (frame.Loop, error) {
		t := &tokens{
			e.World.Secrets, e.World.ServiceAccounts, frame.Of(e, e.World.Secrets), frame.Of(e, e.World.ServiceAccounts), e.Writer,
		}
		return frame.Keyed(e, t.reconcile,
			frame.On(t.secrets, func(old, new *corev1.Secret, add func(types.NamespacedName)) {
				if old != nil && isToken(old) || new != nil && isToken(new) {
					frame.Self(old, new, add)
				}
			}),
			frame.On(t.accounts, t.accountChanged)), nil
	}}
}

// accountChanged wakes the tokens of an account that has come or gone.
func (t *tokens) accountChanged(old, new *corev1.ServiceAccount, add func(types.NamespacedName)) {
	if old != nil && new != nil {
		return
	}
	account := new
	if new == nil {
		account = old
	}
	for _, secret := range t.secrets.List(account.Namespace) {
		if isToken(secret) && secret.Annotations[corev1.ServiceAccountNameKey] == account.Name {
			add(frame.KeyOf(secret))
		}
	}
}

func isToken(secret *corev1.Secret) bool { return secret.Type == corev1.SecretTypeServiceAccountToken }

func (t *tokens) reconcile(ctx context.Context, key types.NamespacedName) (time.Duration, error) {
	secret := t.secrets.Get(key.Namespace, key.Name)
	if secret == nil {
		return 0, t.unlist(ctx, key)
	}
	if !isToken(secret) || secret.DeletionTimestamp != nil {
		return 0, nil
	}
	account := t.accounts.Get(key.Namespace, secret.Annotations[corev1.ServiceAccountNameKey])
	switch judge(secret, account) {
	case foreign:
		return 0, t.drop(ctx, secret)
	case empty:
		_, err := t.objects.Patch(ctx, secret, map[string]any{"metadata": map[string]any{
			"uid": secret.UID, "annotations": map[string]string{corev1.ServiceAccountUIDKey: string(account.UID)},
		}}, "")
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return 0, fmt.Errorf("filling token %s: %w", key, err)
		}
	}
	return 0, nil
}

// drop deletes a token whose account the API does not know either.
func (t *tokens) drop(ctx context.Context, secret *corev1.Secret) error {
	if name := secret.Annotations[corev1.ServiceAccountNameKey]; name != "" {
		uid := types.UID(secret.Annotations[corev1.ServiceAccountUIDKey])
		there, err := t.writer.Exists(ctx, t.accounts.Path(secret.Namespace, name), uid)
		if err != nil || there { // if it is there, the mirror will tell
			return err
		}
	}
	if err := t.objects.Delete(ctx, secret, nil); err != nil && !apierrors.IsConflict(err) {
		return fmt.Errorf("deleting token %s/%s: %w", secret.Namespace, secret.Name, err)
	}
	return nil
}

// unlist removes a token that is gone from the accounts that list it.
func (t *tokens) unlist(ctx context.Context, key types.NamespacedName) error {
	var failed []error
	for _, account := range t.accounts.List(key.Namespace) {
		if !lists(account, key.Name) {
			continue
		}
		if _, err := t.users.Update(ctx, without(account, key.Name)); err != nil && !apierrors.IsNotFound(err) {
			failed = append(failed, fmt.Errorf("removing token %s from its account: %w", key, err))
		}
	}
	return errors.Join(failed...)
}

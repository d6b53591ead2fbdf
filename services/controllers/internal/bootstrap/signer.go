package bootstrap

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/proto"
	"kubus.dev/proto/statelog"
	"kubus.dev/services/controllers/internal/frame"
	"kubus.dev/services/controllers/internal/mirror"
	"kubus.dev/services/controllers/internal/write"
)

var configMaps = proto.GroupResource{Resource: "configmaps"}

type signer struct {
	secrets *mirror.Kind[corev1.Secret]
	view    *statelog.View
	writer  *write.Client
	queue   *frame.Queue[string]
}

// Signer signs cluster-info.
func Signer() frame.Definition {
	return frame.Definition{Name: "bootstrapsigner", User: "bootstrap-signer", Workers: 1, Make: func(e *frame.Env) (frame.Loop, error) {
		s := &signer{secrets: e.World.Secrets, view: e.View(configMaps), writer: e.Writer}
		s.queue = frame.Keyed(e, s.reconcile, frame.On(s.secrets, func(old, new *corev1.Secret, add func(string)) {
			if old != nil && isToken(old) || new != nil && isToken(new) {
				add(signed)
			}
		}))
		e.Go(s.watch)
		return s.queue, nil
	}}
}

// watch wakes the queue when cluster-info changes.
func (s *signer) watch(ctx context.Context) error {
	err := statelog.Changes(ctx, s.view, configMaps, func(statelog.Snapshot) { s.queue.Add(signed) }, func(events []statelog.Event) {
		for _, event := range events {
			if key := event.Entry.Key(); key.Namespace == public && key.Name == signed {
				s.queue.Add(signed)
			}
		}
	})
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("watching %s: %w", signed, err)
}

func (s *signer) reconcile(ctx context.Context, _ string) (time.Duration, error) {
	entry := s.view.Snapshot(configMaps).Get(public, signed)
	if entry == nil {
		return 0, nil
	}
	info, err := statelog.Decode[corev1.ConfigMap](entry)
	if err != nil {
		return 0, err
	}
	tokens, again, err := s.tokens(ctx, time.Now())
	if err != nil {
		return 0, err
	}
	data, changed, err := signedBy(info.Data, tokens)
	if err != nil || !changed {
		return again, err
	}
	info.APIVersion, info.Kind, info.Data = "v1", "ConfigMap", data
	request, err := write.Update(write.Path("", "v1", public, "configmaps", signed), info)
	if err != nil {
		return 0, err
	}
	body, err := s.writer.One(ctx, request)
	if apierrors.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("signing %s: %w", signed, err)
	}
	return again, s.view.WaitFor(ctx, write.Revision(body))
}

// tokens are those that may sign; again is when the first of them expires.
func (s *signer) tokens(ctx context.Context, now time.Time) (all []token, again time.Duration, err error) {
	for _, sealed := range s.secrets.List(namespace) {
		if !isToken(sealed) {
			continue
		}
		secret, err := open(ctx, s.writer, sealed)
		if err != nil {
			return nil, 0, err
		}
		if secret == nil {
			continue
		}
		if t, ok := signing(secret, now); ok {
			all = append(all, t)
			if t.Left > 0 && (again == 0 || t.Left < again) {
				again = t.Left
			}
		}
	}
	return all, again, nil
}

// open asks the API for a Secret with its contents; nil when it is gone.
func open(ctx context.Context, writer *write.Client, sealed *corev1.Secret) (*corev1.Secret, error) {
	body, err := writer.Read(ctx, write.Path("", "v1", sealed.Namespace, "secrets", sealed.Name))
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading a bootstrap token: %w", err)
	}
	secret := &corev1.Secret{}
	if err := json.Unmarshal(body, secret); err != nil {
		return nil, fmt.Errorf("reading a bootstrap token: %w", err)
	}
	return secret, nil
}

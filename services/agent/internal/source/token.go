package source

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
)

// Tokens asks for service account tokens bound to pods, and remembers each until
// it should be renewed, in the store too: after a reboot pods start with theirs.
type Tokens struct {
	api   *apiclient.Client
	store *Store
	log   *zap.Logger
	now   func() time.Time

	mu    sync.Mutex
	known map[tokenKey]token
}

type tokenKey struct {
	pod      types.UID
	audience string
	seconds  int64
}

type token struct {
	value   string
	issued  time.Time
	expires time.Time
}

// keptToken is a token's form on the disk.
type keptToken struct {
	Value   string    `json:"value"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
}

// NewTokens remembers what the store has.
func NewTokens(api *apiclient.Client, store *Store, log *zap.Logger) *Tokens {
	return &Tokens{api: api, store: store, log: log, now: time.Now, known: map[tokenKey]token{}}
}

// renewAt is at 80 % of the token's life, after 24 hours at the latest.
func (t token) renewAt() time.Time {
	life := t.expires.Sub(t.issued)
	return t.issued.Add(min(life*8/10, 24*time.Hour))
}

// Token gives a token for the pod's service account and when to ask again. When
// a renewal fails, the old token is given as long as it is good.
func (t *Tokens) Token(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (value string, renewAt time.Time, err error) {
	key := tokenKey{pod.UID, audience, seconds}
	now := t.now()
	old, ok := t.remembered(key)
	if ok && now.Before(old.renewAt()) {
		return old.value, old.renewAt(), nil
	}
	fresh, err := t.request(ctx, pod, audience, seconds, now)
	if err != nil {
		if ok && now.Before(old.expires) {
			return old.value, now.Add(30 * time.Second), nil
		}
		return "", time.Time{}, fmt.Errorf("failed to fetch token: %w", err)
	}
	t.mu.Lock()
	t.known[key] = fresh
	t.mu.Unlock()
	if !t.store.bare {
		if err := t.store.save(t.file(key), keptToken{fresh.value, fresh.issued, fresh.expires}); err != nil {
			t.log.Warn("token not kept", zap.String("pod", pod.Name), zap.Error(err))
		}
	}
	return fresh.value, fresh.renewAt(), nil
}

func (t *Tokens) remembered(key tokenKey) (token, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, ok := t.known[key]
	if ok {
		return old, true
	}
	var kept keptToken
	if load(t.file(key), &kept) != nil {
		return token{}, false
	}
	old = token{kept.Value, kept.Issued, kept.Expires}
	t.known[key] = old
	return old, true
}

// file is where a token is kept: in the pod's folder, which goes with the pod.
func (t *Tokens) file(key tokenKey) string {
	sum := sha256.Sum256([]byte(key.audience))
	return filepath.Join(t.store.tokenDir(key.pod), fmt.Sprintf("%x-%d.json", sum[:8], key.seconds))
}

func (t *Tokens) request(ctx context.Context, pod *corev1.Pod, audience string, seconds int64, now time.Time) (token, error) {
	account := pod.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	req := &authv1.TokenRequest{
		TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"},
		Spec: authv1.TokenRequestSpec{
			ExpirationSeconds: &seconds,
			BoundObjectRef:    &authv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
		},
	}
	if audience != "" {
		req.Spec.Audiences = []string{audience}
	}
	path := "/api/v1/namespaces/" + pod.Namespace + "/serviceaccounts/" + account + "/token"
	answer, err := apiclient.Create[authv1.TokenRequest](ctx, t.api, path, req)
	if err != nil {
		return token{}, err
	}
	return token{answer.Status.Token, now, answer.Status.ExpirationTimestamp.Time}, nil
}

// Forget drops the pod's tokens.
func (t *Tokens) Forget(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key := range t.known {
		if key.pod == uid {
			delete(t.known, key)
		}
	}
}

package volume

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/downward"
)

func jwt(issued, expires time.Time) string {
	payload := fmt.Sprintf(`{"iat":%d,"exp":%d}`, issued.Unix(), expires.Unix())
	return "h." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".s"
}

type tokens struct {
	asked int
	value string
	err   error
}

func (t *tokens) Token(context.Context, *corev1.Pod, string, int64) (string, time.Time, error) {
	t.asked++
	return t.value, time.Now().Add(time.Hour), t.err
}

func TestTokensAreAskedForOnlyWhenDue(t *testing.T) {
	t.Parallel()
	top := t.TempDir()
	now := time.Now()
	fresh, due, over := jwt(now, now.Add(time.Hour)), jwt(now.Add(-55*time.Minute), now.Add(5*time.Minute)), jwt(now.Add(-2*time.Hour), now.Add(-time.Hour))
	source := &tokens{value: due}
	dir := func(types.UID) string { return top }
	m := &Manager{PodDir: dir, MemoryDir: dir, Tokens: source}
	pod := &corev1.Pod{}
	pod.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}}}}}}
	file := filepath.Join(top, "volumes", "kubernetes.io~projected", "v", "token")
	step := func(what, want string, asked int, fails bool) {
		t.Helper()
		_, err := m.SetUp(t.Context(), pod, downward.Addresses{})
		data, readErr := os.ReadFile(file)
		if (err != nil) != fails || readErr != nil || string(data) != want || source.asked != asked {
			t.Errorf("%s: %q after %d questions, %v, %v", what, data, source.asked, err, readErr)
		}
	}
	step("the first", due, 1, false)
	source.err = errors.New("away")
	step("due while the cluster is away", due, 2, false)
	source.err, source.value = nil, over
	step("due", over, 3, false)
	source.err = errors.New("away")
	step("over while the cluster is away", over, 4, true)
	source.err, source.value = nil, fresh
	step("over", fresh, 5, false)
	step("fresh", fresh, 5, false)
}

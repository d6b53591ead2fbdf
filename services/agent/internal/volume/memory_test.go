package volume

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/downward"
)

// cluster has one of everything.
type cluster struct{}

func (cluster) ConfigMap(context.Context, string, string) (*corev1.ConfigMap, error) {
	return &corev1.ConfigMap{Data: map[string]string{"k": "open"}}, nil
}

func (cluster) Secret(context.Context, string, string) (*corev1.Secret, error) {
	return &corev1.Secret{Data: map[string][]byte{"k": []byte("hidden")}}, nil
}

func TestFinding15VolumesWithSecretsAreInMemoryAndGoWithThePod(t *testing.T) {
	t.Parallel()
	disk, memory := t.TempDir(), t.TempDir()
	m := &Manager{
		PodDir:    func(uid types.UID) string { return filepath.Join(disk, string(uid)) },
		MemoryDir: func(uid types.UID) string { return filepath.Join(memory, string(uid)) },
		Objects:   cluster{}, Tokens: &tokens{value: jwt(time.Now(), time.Now().Add(time.Hour))},
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Spec: corev1.PodSpec{Volumes: []corev1.Volume{
		{Name: "s", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}},
		{Name: "p", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}}}}},
		{Name: "c", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}},
		{Name: "old", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}},
	}}}
	if err := os.MkdirAll(filepath.Join(disk, "u/volumes/kubernetes.io~secret/old"), 0o755); err != nil {
		t.Fatal(err)
	}
	mounted, err := m.SetUp(t.Context(), pod, downward.Addresses{})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"s": memory, "p": memory, "c": disk, "old": disk} {
		if !strings.HasPrefix(mounted.Paths[name], want+"/") {
			t.Errorf("volume %s is at %s, want it below %s", name, mounted.Paths[name], want)
		}
	}
	if data, err := os.ReadFile(filepath.Join(mounted.Paths["s"], "k")); err != nil || string(data) != "hidden" {
		t.Errorf("the secret: %q, %v", data, err)
	}
	if err := m.TearDown("u"); err != nil {
		t.Fatal(err)
	}
	for name, path := range mounted.Paths {
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("volume %s after the pod: %v", name, err)
		}
	}
	if left, err := os.ReadDir(memory); err != nil || len(left) > 0 {
		t.Errorf("left in memory: %v, %v", left, err)
	}
}

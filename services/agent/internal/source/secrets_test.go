package source

import (
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/bustest/apitest"
)

func TestFinding15OnlySecretsThatAStartNeedsLieOnTheDisk(t *testing.T) {
	t.Parallel()
	pod := func(uid types.UID) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", UID: uid}, Spec: corev1.PodSpec{
			Volumes:          []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "needed"}}}},
			ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}},
		}}
	}
	for name, tt := range map[string]struct {
		bare bool
		kept map[string]bool
	}{
		"as it is":        {false, map[string]bool{"needed": true, "pull": false}},
		"without secrets": {true, map[string]bool{"needed": false, "pull": false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := open(t)
			if tt.bare {
				left := store.objectFile("secrets", "ns", "needed")
				if err := store.save(left, &corev1.Secret{}); err != nil {
					t.Fatal(err)
				}
				if err := store.WithoutSecrets(); err != nil {
					t.Fatal(err)
				}
			}
			w := newWorld(t, apitest.New(), store)
			defer w.stop()
			for secret := range tt.kept {
				w.api.Put("/api/v1/namespaces/ns/secrets/"+secret, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: secret},
					Data: map[string][]byte{"k": []byte("v")}})
			}
			w.Hold(pod("u"))
			for secret, want := range tt.kept {
				if s, err := w.Secret(t.Context(), "ns", secret); err != nil || string(s.Data["k"]) != "v" {
					t.Errorf("%s: %v, %v", secret, s, err)
				}
				if _, err := os.Stat(store.objectFile("secrets", "ns", secret)); (err == nil) != want {
					t.Errorf("%s on the disk: %v, want %v", secret, err, want)
				}
			}
			w.Release("u")
			for secret := range tt.kept {
				if _, err := os.Stat(store.objectFile("secrets", "ns", secret)); !os.IsNotExist(err) {
					t.Errorf("%s after the pod: %v", secret, err)
				}
			}
		})
	}
}

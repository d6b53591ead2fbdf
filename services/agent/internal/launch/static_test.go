package launch

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/downward"
	"kubus.dev/services/agent/internal/static"
)

// silent knows no Services: the cluster does not answer.
type silent struct{}

func (silent) Variables(ctx context.Context, _ string, _ bool) (map[string]string, error) {
	<-ctx.Done()
	return nil, errors.New("services have not yet been read")
}

func TestAStaticPodDoesNotWaitForTheCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &Environment{Services: silent{}}
		pod := &corev1.Pod{}
		c := &corev1.Container{Env: []corev1.EnvVar{{Name: "A", Value: "b"}}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		pod.Annotations = map[string]string{static.SourceAnnotation: "file"}
		got, err := e.Variables(ctx, pod, c, downward.Addresses{}, nil)
		if err != nil || len(got) != 1 || got[0] != "A=b" {
			t.Errorf("a static pod has %q, %v", got, err)
		}
		if ctx.Err() != nil {
			t.Error("it has waited for an hour")
		}
		pod.Annotations[static.SourceAnnotation] = "api"
		if _, err := e.Variables(ctx, pod, c, downward.Addresses{}, nil); err == nil || ctx.Err() == nil {
			t.Errorf("a pod of the API did not wait: %v", err)
		}
	})
}

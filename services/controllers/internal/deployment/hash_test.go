package deployment

import (
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// The values are those of k8s.io/kubernetes v1.37.2 pkg/controller.ComputeHash.
func TestTheHashIsUpstreams(t *testing.T) {
	var template corev1.PodTemplateSpec
	err := json.Unmarshal([]byte(`{"metadata":{"creationTimestamp":null,"labels":{"app":"web"}},"spec":{"containers":[{"name":"web","image":"nginx:1.27","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{},"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","securityContext":{},"schedulerName":"default-scheduler"}}`), &template)
	if err != nil {
		t.Fatal(err)
	}
	if got := templateHash(&template, nil); got != "8c96c8dfc" {
		t.Errorf("without collisions: got %s, want 8c96c8dfc", got)
	}
	one := int32(1)
	if got := templateHash(&template, &one); got != "76bc766444" {
		t.Errorf("after one collision: got %s, want 76bc766444", got)
	}
}

func TestALongDeploymentNameIsShortened(t *testing.T) {
	if got := setName(strings.Repeat("a", 253), "8c96c8dfc"); len(got) != 253 || !strings.HasSuffix(got, "a-8c96c8dfc") {
		t.Errorf("got %q (%d)", got, len(got))
	}
}

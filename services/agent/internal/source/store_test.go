package source

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestKeptPodsComeBackWithTheirStatuses(t *testing.T) {
	t.Parallel()
	s := open(t)
	save := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	pod := func(uid types.UID) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: uid}}
	}
	save(s.SavePod(pod("with")))
	save(s.SaveStatus("with", &corev1.PodStatus{Phase: corev1.PodRunning}))
	save(s.SavePod(pod("without")))
	save(s.SaveStatus("torn", &corev1.PodStatus{}))
	save(os.WriteFile(filepath.Join(s.PodDir("torn"), "pod.json"), []byte(`{"metadata":`), 0o600))
	save(s.save(filepath.Join(s.PodDir("moved"), "pod.json"), pod("another")))

	pods, statuses, err := s.Pods()
	if err != nil {
		t.Fatal(err)
	}
	if len(pods) != 2 || pods[0].UID != "with" || pods[1].UID != "without" {
		t.Errorf("got %d pods: a torn one, or one in another's folder, counts", len(pods))
	}
	if st := statuses["with"]; st == nil || st.Phase != corev1.PodRunning || len(statuses) != 1 {
		t.Errorf("statuses: %v", statuses)
	}
	folders, err := s.Folders()
	if err != nil || len(folders) != 4 {
		t.Errorf("folders %v, %v: the unreadable ones must be found too, to be removed", folders, err)
	}
	save(s.RemovePod("torn"))
	if _, err := os.Stat(s.PodDir("torn")); !os.IsNotExist(err) {
		t.Errorf("a removed folder is still there: %v", err)
	}
	if info, err := os.Stat(filepath.Join(s.PodDir("with"), "pod.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read it: %v, %v", info.Mode(), err)
	}
}

func TestRemovingThePodWithoutUIDWouldRemoveAll(t *testing.T) {
	t.Parallel()
	if err := open(t).RemovePod(""); err == nil {
		t.Error("it was done")
	}
}

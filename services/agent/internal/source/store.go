package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/services/agent/internal/tree"
	"kubus.dev/services/kit/file"
)

// Store keeps objects as JSON files that only root can read. A file is replaced
// as a whole; after a power cut it may be older than what was saved last, never
// torn in a way that Load would take for good.
//
// What is secret it keeps only for pods to start without the cluster; see WithoutSecrets.
type Store struct {
	dir     string
	bare    bool       // keeps nothing secret
	writing sync.Mutex // one file at a time: two writers of one object must not meet
}

// OpenStore makes the folders below dir.
func OpenStore(dir string) (*Store, error) {
	for _, d := range []string{"pods", "objects"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("opening the agent's store: %w", err)
		}
	}
	return &Store{dir: dir}, nil
}

// WithoutSecrets makes the store keep no Secret and no token, and removes those that are there.
func (s *Store) WithoutSecrets() error {
	s.bare = true
	err := tree.Remove(filepath.Join(s.dir, "objects", "secrets"))
	folders, listErr := s.Folders()
	err = errors.Join(err, listErr)
	for _, uid := range folders {
		err = errors.Join(err, tree.Remove(s.tokenDir(uid)))
	}
	if err != nil {
		return fmt.Errorf("removing kept secrets: %w", err)
	}
	return nil
}

// PodDir is the folder of one pod: its object, its volumes, its files.
func (s *Store) PodDir(uid types.UID) string { return filepath.Join(s.dir, "pods", string(uid)) }

// SavePod keeps the pod as the API last gave it.
func (s *Store) SavePod(pod *corev1.Pod) error {
	return s.save(filepath.Join(s.PodDir(pod.UID), "pod.json"), pod)
}

// SaveStatus keeps the pod's status as we last wrote it.
func (s *Store) SaveStatus(uid types.UID, status *corev1.PodStatus) error {
	return s.save(filepath.Join(s.PodDir(uid), "status.json"), status)
}

// Pods gives every kept pod with its status, nil where none was kept.
// Unreadable ones are left out.
func (s *Store) Pods() (pods []*corev1.Pod, statuses map[types.UID]*corev1.PodStatus, err error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "pods"))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the kept pods: %w", err)
	}
	statuses = map[types.UID]*corev1.PodStatus{}
	for _, e := range entries {
		pod := &corev1.Pod{}
		if load(filepath.Join(s.dir, "pods", e.Name(), "pod.json"), pod) != nil || string(pod.UID) != e.Name() {
			continue
		}
		pods = append(pods, pod)
		status := &corev1.PodStatus{}
		if load(filepath.Join(s.dir, "pods", e.Name(), "status.json"), status) == nil {
			statuses[pod.UID] = status
		}
	}
	return pods, statuses, nil
}

// Folders lists the uids that have a folder, with or without a readable pod.
func (s *Store) Folders() ([]types.UID, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "pods"))
	if err != nil {
		return nil, fmt.Errorf("reading the pods' folders: %w", err)
	}
	out := make([]types.UID, 0, len(entries))
	for _, e := range entries {
		out = append(out, types.UID(e.Name()))
	}
	return out, nil
}

// RemovePod removes the pod's folder. Its mounts must be gone.
func (s *Store) RemovePod(uid types.UID) error {
	if uid == "" {
		return errors.New("removing a pod's folder: no uid")
	}
	if err := tree.Clear(s.PodDir(uid)); err != nil {
		return fmt.Errorf("removing the pod's folder: %w", err)
	}
	return nil
}

// sweepObjects removes the kept objects of one resource that are not wanted.
func (s *Store) sweepObjects(resource string, wanted func(types.NamespacedName) bool) error {
	top := filepath.Join(s.dir, "objects", resource)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		key := types.NamespacedName{Namespace: filepath.Base(filepath.Dir(path)), Name: strings.TrimSuffix(d.Name(), ".json")}
		if wanted(key) {
			return nil
		}
		s.writing.Lock() // one being written now has another name, that of no object
		defer s.writing.Unlock()
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing kept objects: %w", err)
	}
	return nil
}

func (s *Store) tokenDir(uid types.UID) string { return filepath.Join(s.PodDir(uid), "tokens") }

func (s *Store) objectFile(resource, namespace, name string) string {
	return filepath.Join(s.dir, "objects", resource, namespace, name+".json")
}

func (s *Store) save(path string, obj any) error {
	data, err := json.Marshal(obj)
	if err != nil {
		return fmt.Errorf("keeping %s: %w", filepath.Base(path), err)
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	err = file.Replace(path, data, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o700); err == nil {
			err = file.Replace(path, data, 0o600)
		}
	}
	if err != nil {
		return fmt.Errorf("keeping %s: %w", filepath.Base(path), err)
	}
	return nil
}

func load(path string, obj any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, obj)
}

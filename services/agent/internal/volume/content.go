package volume

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"kubus.dev/services/agent/internal/downward"
	"kubus.dev/services/agent/internal/source"
)

// content is what a volume made of API objects shows, and when it must be made again.
type content struct {
	files   map[string]File
	renewAt time.Time
}

// add shows a file that is to be made again at a time; zero: only when an object changes.
func (c *content) add(path string, f File, renewAt time.Time) {
	c.files[path] = f
	if !renewAt.IsZero() && (c.renewAt.IsZero() || renewAt.Before(c.renewAt)) {
		c.renewAt = renewAt
	}
}

// personal is a file of the user that all containers run as, if there is such, or of the pod's group.
func personal(pod *corev1.Pod, data []byte, def fs.FileMode) File {
	f := File{Data: data, Mode: def, UID: -1}
	if uid, ok := commonUser(pod); ok {
		f.UID, f.Mode = uid, 0o600
	} else if fsGroup(pod) >= 0 {
		f.Mode = 0o600
	}
	return f
}

const defaultMode = 0o644

func mode(m *int32, fallback fs.FileMode) fs.FileMode {
	if m == nil {
		return fallback
	}
	return fs.FileMode(*m) & fs.ModePerm
}

func (m *Manager) configMapFiles(ctx context.Context, namespace, name string, items []corev1.KeyToPath, def fs.FileMode, optional bool, out map[string]File) error {
	cm, err := m.Objects.ConfigMap(ctx, namespace, name)
	if err != nil {
		if optional && apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	all := make(map[string][]byte, len(cm.Data)+len(cm.BinaryData))
	for k, v := range cm.Data {
		all[k] = []byte(v)
	}
	for k, v := range cm.BinaryData {
		all[k] = v
	}
	if !project(all, items, def, optional, out) {
		return fmt.Errorf("configmap references non-existent config key: %s", absent(all, items))
	}
	return nil
}

func (m *Manager) secretFiles(ctx context.Context, namespace, name string, items []corev1.KeyToPath, def fs.FileMode, optional bool, out map[string]File) error {
	s, err := m.Objects.Secret(ctx, namespace, name)
	if err != nil {
		if optional && apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	if !project(s.Data, items, def, optional, out) {
		return fmt.Errorf("references non-existent secret key: %s", absent(s.Data, items))
	}
	return nil
}

// project adds the keys as files; false when an item names a key that is missing and not optional.
func project(all map[string][]byte, items []corev1.KeyToPath, def fs.FileMode, optional bool, out map[string]File) bool {
	if len(items) == 0 {
		for k, v := range all {
			out[k] = File{Data: v, Mode: def, UID: -1}
		}
		return true
	}
	for _, it := range items {
		v, ok := all[it.Key]
		if !ok {
			if optional {
				continue
			}
			return false
		}
		out[it.Path] = File{Data: v, Mode: mode(it.Mode, def), UID: -1}
	}
	return true
}

func absent(all map[string][]byte, items []corev1.KeyToPath) string {
	for _, it := range items {
		if _, ok := all[it.Key]; !ok {
			return it.Key
		}
	}
	return ""
}

func (m *Manager) downwardFiles(pod *corev1.Pod, items []corev1.DownwardAPIVolumeFile, def fs.FileMode, a downward.Addresses, out map[string]File) error {
	var problems []string
	for i := range items {
		it := &items[i]
		var value string
		var err error
		switch {
		case it.FieldRef != nil:
			value, err = downward.Field(pod, it.FieldRef, a)
		case it.ResourceFieldRef != nil:
			value, err = downward.Resource(pod, nil, it.ResourceFieldRef, m.Allocatable())
		}
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		out[it.Path] = File{Data: []byte(value), Mode: mode(it.Mode, def), UID: -1}
	}
	if len(problems) > 0 {
		return fmt.Errorf("%s", strings.Join(problems, ", "))
	}
	return nil
}

func (m *Manager) projectedContent(ctx context.Context, pod *corev1.Pod, name, dir string, p *corev1.ProjectedVolumeSource, a downward.Addresses) (content, error) {
	c := content{files: map[string]File{}}
	def := mode(p.DefaultMode, defaultMode)
	for i := range p.Sources {
		s := &p.Sources[i]
		var err error
		switch {
		case s.ConfigMap != nil:
			err = m.configMapFiles(ctx, pod.Namespace, s.ConfigMap.Name, s.ConfigMap.Items, def, isTrue(s.ConfigMap.Optional), c.files)
		case s.Secret != nil:
			err = m.secretFiles(ctx, pod.Namespace, s.Secret.Name, s.Secret.Items, def, isTrue(s.Secret.Optional), c.files)
		case s.DownwardAPI != nil:
			err = m.downwardFiles(pod, s.DownwardAPI.Items, def, a, c.files)
		case s.ServiceAccountToken != nil:
			err = m.tokenFile(ctx, pod, dir, s.ServiceAccountToken, def, &c)
		case s.ClusterTrustBundle != nil:
			err = m.bundleFile(ctx, pod, s.ClusterTrustBundle, def, &c)
		case s.PodCertificate != nil:
			err = m.certificateFiles(ctx, pod, source.Projection{Pod: pod.UID, Volume: name, Source: i}, s.PodCertificate, def, &c)
		default:
			err = fmt.Errorf("projected source %d is of a kind that this node does not support", i)
		}
		if err != nil {
			return c, err
		}
	}
	return c, nil
}

const (
	defaultTokenSeconds = 3600
	renewRetry          = 30 * time.Second
)

func (m *Manager) tokenFile(ctx context.Context, pod *corev1.Pod, dir string, s *corev1.ServiceAccountTokenProjection, def fs.FileMode, c *content) error {
	seconds := int64(defaultTokenSeconds)
	if s.ExpirationSeconds != nil {
		seconds = *s.ExpirationSeconds
	}
	now := time.Now()
	old := keptToken(tokenPath(dir, s.Path))
	value, renewAt := old.value, old.renewAt
	if !now.Before(old.renewAt) {
		var err error
		value, renewAt, err = m.Tokens.Token(ctx, pod, s.Audience, seconds)
		if err != nil && now.Before(old.expires) {
			value, renewAt, err = old.value, now.Add(renewRetry), nil
		}
		if err != nil {
			return err
		}
	}
	c.add(s.Path, personal(pod, []byte(value), def), renewAt)
	return nil
}

// commonUser is the user that all containers run as, when the spec says so.
func commonUser(pod *corev1.Pod) (uid int, ok bool) {
	first := true
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			var u *int64
			if sc := pod.Spec.SecurityContext; sc != nil {
				u = sc.RunAsUser
			}
			if sc := list[i].SecurityContext; sc != nil && sc.RunAsUser != nil {
				u = sc.RunAsUser
			}
			if u == nil || !first && int(*u) != uid {
				return -1, false
			}
			uid, first = int(*u), false
		}
	}
	return uid, !first
}

func fsGroup(pod *corev1.Pod) int {
	if sc := pod.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		return int(*sc.FSGroup)
	}
	return -1
}

func isTrue(b *bool) bool { return b != nil && *b }

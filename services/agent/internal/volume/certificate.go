package volume

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"kubus.dev/services/agent/internal/source"
)

// bundleFile shows whom one or several ClusterTrustBundles say to trust.
func (m *Manager) bundleFile(ctx context.Context, pod *corev1.Pod, s *corev1.ClusterTrustBundleProjection, def fs.FileMode, c *content) error {
	var anchors []byte
	var err error
	switch {
	case s.Name != nil:
		anchors, err = m.Bundles.ByName(ctx, *s.Name, isTrue(s.Optional))
	case s.SignerName != nil:
		anchors, err = m.Bundles.BySigner(ctx, *s.SignerName, s.LabelSelector, isTrue(s.Optional))
	default:
		err = errors.New("ClusterTrustBundle projection requires either name or signerName to be set")
	}
	if err != nil {
		return err
	}
	c.add(s.Path, personal(pod, anchors, def), time.Time{})
	return nil
}

// certificateFiles shows a certificate of the pod's and its key, in one file or in two.
func (m *Manager) certificateFiles(ctx context.Context, pod *corev1.Pod, at source.Projection, s *corev1.PodCertificateProjection, def fs.FileMode, c *content) error {
	key, chain, renewAt, err := m.Certificates.Certificate(ctx, pod, at, s)
	if err != nil {
		return err
	}
	for path, data := range map[string][]byte{s.CredentialBundlePath: slices.Concat(key, chain), s.KeyPath: key, s.CertificateChainPath: chain} {
		if path != "" {
			c.add(path, personal(pod, data, def), renewAt)
		}
	}
	return nil
}

package source

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
)

// Bundles gives what ClusterTrustBundles say whom to trust. All bundles are followed
// while the process runs, from the first pod on that names any; a copy of what they were
// is kept, so that such pods start without the cluster.
type Bundles struct {
	bundles *whole[certificatesv1.ClusterTrustBundle, *certificatesv1.ClusterTrustBundle]
	store   *Store
	log     *zap.Logger
	changed func([]types.UID)

	mu   sync.Mutex
	pods map[types.UID]bool // that name bundles
}

// NewBundles follows nothing yet. changed is told which pods name bundles when one changed.
func NewBundles(ctx context.Context, api *apiclient.Client, store *Store, log *zap.Logger, changed func(pods []types.UID)) *Bundles {
	b := &Bundles{store: store, log: log, changed: changed, pods: map[types.UID]bool{}}
	b.bundles = newWhole[certificatesv1.ClusterTrustBundle](ctx, api, log, "/apis/certificates.k8s.io/v1/clustertrustbundles", nil)
	b.bundles.changed = b.tell
	return b
}

// Hold notes whether the pod is to hear of changes.
func (b *Bundles) Hold(pod *corev1.Pod) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if namesBundle(pod) {
		b.pods[pod.UID] = true
	} else {
		delete(b.pods, pod.UID)
	}
}

// Release forgets the pod.
func (b *Bundles) Release(uid types.UID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.pods, uid)
}

// Wait waits for the watch; call it after its context has ended.
func (b *Bundles) Wait() { b.bundles.running.Wait() }

func (b *Bundles) tell() {
	if _, err := b.now(b.bundles.ctx); err != nil {
		return // it ends
	}
	b.mu.Lock()
	pods := make([]types.UID, 0, len(b.pods))
	for uid := range b.pods {
		pods = append(pods, uid)
	}
	b.mu.Unlock()
	b.changed(pods)
}

// ByName gives the certificates of a bundle, PEM; where it is optional and not there, none.
func (b *Bundles) ByName(ctx context.Context, name string, optional bool) ([]byte, error) {
	all, err := b.list(ctx)
	if err != nil {
		return nil, err
	}
	for _, one := range all {
		if one.Name == name {
			return anchors(one), nil
		}
	}
	if optional {
		return nil, nil
	}
	return nil, fmt.Errorf("while getting ClusterTrustBundle: %w", apierrors.NewNotFound(certificatesv1.Resource("clustertrustbundle"), name))
}

// BySigner gives the certificates of all bundles of a signer that a selector matches,
// PEM. No selector matches nothing, an empty one everything.
func (b *Bundles) BySigner(ctx context.Context, signer string, selector *metav1.LabelSelector, optional bool) ([]byte, error) {
	match, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, fmt.Errorf("while parsing label selector: %w", err)
	}
	all, err := b.list(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(one *certificatesv1.ClusterTrustBundle) bool {
		return one.Spec.SignerName != signer || !match.Matches(labels.Set(one.Labels))
	})
	if len(all) == 0 && !optional {
		return nil, errors.New("combination of signerName and labelSelector matched zero ClusterTrustBundles")
	}
	return anchors(all...), nil
}

// list gives all bundles, those of before where the API does not answer soon.
func (b *Bundles) list(ctx context.Context) ([]*certificatesv1.ClusterTrustBundle, error) {
	kept := &certificatesv1.ClusterTrustBundleList{}
	if load(b.file(), kept) != nil {
		return b.now(ctx)
	}
	hasty, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all, err := b.now(hasty)
	if err == nil || ctx.Err() != nil {
		return all, err
	}
	b.log.Info("the API does not answer, using the kept trust bundles", zap.Error(err))
	for i := range kept.Items {
		all = append(all, &kept.Items[i])
	}
	return all, nil
}

// now gives all bundles as they are, in the order of their names, and keeps them.
func (b *Bundles) now(ctx context.Context) ([]*certificatesv1.ClusterTrustBundle, error) {
	all, err := b.bundles.known(ctx)
	if err != nil {
		return nil, fmt.Errorf("while listing ClusterTrustBundles: %w", err)
	}
	slices.SortFunc(all, func(x, y *certificatesv1.ClusterTrustBundle) int { return strings.Compare(x.Name, y.Name) })
	list := &certificatesv1.ClusterTrustBundleList{}
	for _, one := range all {
		list.Items = append(list.Items, *one)
	}
	if err := b.store.save(b.file(), list); err != nil {
		b.log.Warn("trust bundles not kept", zap.Error(err))
	}
	return all, nil
}

func (b *Bundles) file() string { return b.store.objectFile("clustertrustbundles", "", "all") }

func namesBundle(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if p := pod.Spec.Volumes[i].Projected; p != nil && slices.ContainsFunc(p.Sources, func(s corev1.VolumeProjection) bool { return s.ClusterTrustBundle != nil }) {
			return true
		}
	}
	return false
}

// anchors are the certificates of the bundles, each once, without anything around them,
// in an order that says nothing.
func anchors(bundles ...*certificatesv1.ClusterTrustBundle) []byte {
	var all []string
	for _, one := range bundles {
		for rest := []byte(one.Spec.TrustBundle); ; {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			all = append(all, string(block.Bytes))
		}
	}
	slices.Sort(all)
	var out bytes.Buffer
	for _, der := range slices.Compact(all) {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: []byte(der)}) // a buffer takes all
	}
	return out.Bytes()
}

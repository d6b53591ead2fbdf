package source

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net/url"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/apiclient"
)

// Certificates asks for certificates for pods, with a PodCertificateRequest for each
// projected source, and for new ones when they are to be refreshed. Keys never leave the
// node, and neither keys nor certificates outlive the process: the next one asks anew,
// and until it has an answer pods go on with what is in their volumes.
type Certificates struct {
	api      *apiclient.Client
	node     string
	log      *zap.Logger
	now      func() time.Time
	changed  func([]types.UID)
	requests *whole[certificatesv1.PodCertificateRequest, *certificatesv1.PodCertificateRequest]

	mu      sync.Mutex
	nodeUID types.UID
	known   map[Projection]*credential
}

// Projection is the place in a pod that a certificate is for.
type Projection struct {
	Pod    types.UID
	Volume string
	Source int // in the volume's list
}

// credential is what a projection has: a good pair, or an asked-for one, or both, or the
// reason why it gets none.
type credential struct {
	asking sync.Mutex // held while a request is made

	key, chain []byte // PEM; nil: none yet
	refreshAt  time.Time

	newKey  []byte // of the request that is under way
	request types.NamespacedName
	made    time.Time

	refused error // for good
}

// refreshJitter keeps the pods of a deployment from asking all at once; vanished is how long a request may be
// unseen before it is taken for deleted.
const (
	refreshJitter = 5 * time.Minute
	vanished      = 10 * time.Minute
)

// ErrNotIssued: nobody has signed the certificate yet; changed tells when it is worth asking again.
var ErrNotIssued = errors.New("credential bundle is not issued yet")

// NewCertificates asks for nothing yet. The watch of requests ends with ctx; changed is
// told on some goroutine which pods a decided request is for.
func NewCertificates(ctx context.Context, api *apiclient.Client, node string, log *zap.Logger, changed func(pods []types.UID)) *Certificates {
	c := &Certificates{api: api, node: node, log: log, now: time.Now, changed: changed, known: map[Projection]*credential{}}
	c.requests = newWhole[certificatesv1.PodCertificateRequest](ctx, api, log, "/apis/certificates.k8s.io/v1/podcertificaterequests",
		url.Values{"fieldSelector": {"spec.nodeName=" + node}})
	c.requests.changed = c.tell
	return c
}

// Wait waits for the watch; call it after its context has ended.
func (c *Certificates) Wait() { c.requests.running.Wait() }

// tell wakes the pods whose requests are decided.
func (c *Certificates) tell() {
	c.mu.Lock()
	var pods []types.UID
	for at, cred := range c.known {
		if cred.newKey == nil {
			continue
		}
		if r := c.requests.get(cred.request); r != nil && len(r.Status.Conditions) > 0 {
			pods = append(pods, at.Pod)
		}
	}
	c.mu.Unlock()
	if len(pods) > 0 {
		c.changed(pods)
	}
}

// Certificate gives the key and the certificate chain of a projection, PEM, and when to
// ask again. ErrNotIssued comes until the first one is issued; a signer's refusal is final.
func (c *Certificates) Certificate(ctx context.Context, pod *corev1.Pod, at Projection, p *corev1.PodCertificateProjection) (key, chain []byte, renewAt time.Time, err error) {
	if _, err := c.requests.known(ctx); err != nil {
		return nil, nil, time.Time{}, fmt.Errorf("while listing PodCertificateRequests: %w", err)
	}
	cred := c.credential(at)
	cred.asking.Lock()
	defer cred.asking.Unlock()
	c.settle(cred)
	now := c.now()
	due := cred.refused == nil && cred.newKey == nil && (cred.key == nil || !now.Before(cred.refreshAt))
	if due {
		if err := c.ask(ctx, pod, p, cred); err != nil && cred.key == nil {
			return nil, nil, time.Time{}, err
		} else if err != nil {
			c.log.Info("certificate not refreshed", zap.String("namespace", pod.Namespace), zap.String("pod", pod.Name), zap.Error(err))
		}
		c.settle(cred) // a signer may have been faster than this
	}
	switch {
	case cred.refused != nil:
		return nil, nil, time.Time{}, cred.refused
	case cred.key == nil:
		return nil, nil, time.Time{}, ErrNotIssued
	case !now.Before(cred.refreshAt): // tell comes sooner where the request is decided
		return cred.key, cred.chain, now.Add(renewRetry), nil
	}
	return cred.key, cred.chain, cred.refreshAt, nil
}

// renewRetry is when a refresh that is under way, or could not begin, is looked at again.
const renewRetry = 30 * time.Second

func (c *Certificates) credential(at Projection) *credential {
	c.mu.Lock()
	defer c.mu.Unlock()
	cred := c.known[at]
	if cred == nil {
		cred = &credential{}
		c.known[at] = cred
	}
	return cred
}

// settle takes what has become of the request that is under way.
func (c *Certificates) settle(cred *credential) {
	if cred.newKey == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	r := c.requests.get(cred.request)
	if r == nil {
		if c.now().After(cred.made.Add(vanished)) {
			cred.newKey = nil
		}
		return
	}
	for i := range r.Status.Conditions {
		switch cond := &r.Status.Conditions[i]; cond.Type {
		case certificatesv1.PodCertificateRequestConditionTypeDenied:
			cred.newKey, cred.refused = nil, fmt.Errorf("PodCertificateRequest was permanently denied: reason=%q message=%q", cond.Reason, cond.Message)
		case certificatesv1.PodCertificateRequestConditionTypeFailed:
			cred.newKey, cred.refused = nil, fmt.Errorf("PodCertificateRequest was permanently failed: reason=%q message=%q", cond.Reason, cond.Message)
		case certificatesv1.PodCertificateRequestConditionTypeIssued:
			cred.key, cred.chain, cred.newKey = cred.newKey, certificates(r.Status.CertificateChain), nil
			cred.refreshAt = c.now().Add(refreshJitter)
			if r.Status.BeginRefreshAt != nil {
				cred.refreshAt = r.Status.BeginRefreshAt.Add(mathrand.N(refreshJitter))
			}
		default:
			continue
		}
		return
	}
}

// ask makes a key and a request for it.
func (c *Certificates) ask(ctx context.Context, pod *corev1.Pod, p *corev1.PodCertificateProjection, cred *credential) error {
	account, err := apiclient.Get[corev1.ServiceAccount](ctx, c.api, "/api/v1/namespaces/"+pod.Namespace+"/serviceaccounts/"+pod.Spec.ServiceAccountName)
	if err != nil {
		return fmt.Errorf("while fetching service account: %w", err)
	}
	nodeUID, err := c.uidOfNode(ctx)
	if err != nil {
		return err
	}
	private, err := newKey(p.KeyType)
	if err != nil {
		return err
	}
	stub, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, private)
	if err != nil {
		return fmt.Errorf("while generating stub PKCS#10 request: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("while marshaling key to PKCS#8: %w", err)
	}
	made, err := apiclient.Create[certificatesv1.PodCertificateRequest](ctx, c.api, "/apis/certificates.k8s.io/v1/namespaces/"+pod.Namespace+"/podcertificaterequests", &certificatesv1.PodCertificateRequest{
		TypeMeta: metav1.TypeMeta{APIVersion: certificatesv1.SchemeGroupVersion.String(), Kind: "PodCertificateRequest"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, GenerateName: "req-",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}},
		},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: p.SignerName, PodName: pod.Name, PodUID: pod.UID,
			ServiceAccountName: account.Name, ServiceAccountUID: account.UID, NodeName: types.NodeName(c.node), NodeUID: nodeUID,
			MaxExpirationSeconds: p.MaxExpirationSeconds, StubPKCS10Request: stub, UnverifiedUserAnnotations: p.UserAnnotations,
		},
	})
	if apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
		c.forgetNode() // it may be another one by now
	}
	if err != nil {
		return fmt.Errorf("while creating on API: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	cred.newKey = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	cred.request, cred.made = keyOf(made), c.now()
	return nil
}

func (c *Certificates) uidOfNode(ctx context.Context) (types.UID, error) {
	c.mu.Lock()
	uid := c.nodeUID
	c.mu.Unlock()
	if uid != "" {
		return uid, nil
	}
	node, err := apiclient.Get[corev1.Node](ctx, c.api, "/api/v1/nodes/"+c.node)
	if err != nil {
		return "", fmt.Errorf("while getting node object: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodeUID = node.UID
	return node.UID, nil
}

func (c *Certificates) forgetNode() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodeUID = ""
}

// Forget drops the pod's keys.
func (c *Certificates) Forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := range c.known {
		if at.Pod == uid {
			delete(c.known, at)
		}
	}
}

// newKey makes a key of a type of PodCertificateProjection.
func newKey(kind string) (crypto.Signer, error) {
	var key crypto.Signer
	var err error
	switch kind {
	case "RSA3072":
		key, err = rsa.GenerateKey(rand.Reader, 3072)
	case "RSA4096":
		key, err = rsa.GenerateKey(rand.Reader, 4096)
	case "ECDSAP256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ECDSAP384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ECDSAP521":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "ED25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("unknown key type %q", kind)
	}
	if err != nil {
		return nil, fmt.Errorf("while generating %s key: %w", kind, err)
	}
	return key, nil
}

// certificates are those of a PEM text without anything around them.
func certificates(text string) []byte {
	var out bytes.Buffer
	for block, rest := pem.Decode([]byte(text)); block != nil; block, rest = pem.Decode(rest) {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}) // a buffer takes all
	}
	return slices.Clip(out.Bytes())
}

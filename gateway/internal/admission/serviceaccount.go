package admission

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/storage/names"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	api "k8s.io/kubernetes/pkg/apis/core"

	"kubus.dev/proto"
)

const (
	defaultAccount     = "default"
	tokenVolume        = "kube-api-access"
	tokenMountPath     = "/var/run/secrets/kubernetes.io/serviceaccount"
	tokenSeconds       = 60*60 + 7 // upstream's WarnOnlyBoundTokenExpirationSeconds
	enforceSecrets     = "kubernetes.io/enforce-mountable-secrets"
	accountPatience    = 2 * time.Second // for the controller that makes "default"
	rootCAConfigMap    = "kube-root-ca.crt"
	projectedFileMode  = corev1.ProjectedVolumeSourceDefaultMode
	mirrorNoAccounts   = "a mirror pod may not reference service accounts"
	mirrorNoSecrets    = "a mirror pod may not reference secrets"
	mirrorNoProjection = "a mirror pod may not use ServiceAccountToken volume projections"
)

// serviceAccount is upstream's ServiceAccount plugin: every pod has an account
// that exists, and its token mounted unless somebody says otherwise.
type serviceAccount struct {
	*admission.Handler
	accounts *lookup[corev1.ServiceAccount]
}

func newServiceAccount(source Source) serviceAccount {
	return serviceAccount{admission.NewHandler(admission.Create, admission.Update),
		newLookup[corev1.ServiceAccount](source, proto.GroupResource{Resource: "serviceaccounts"})}
}

// podOf gives the pod that the request is about; nil for anything else.
func podOf(a admission.Attributes, subresources ...string) *api.Pod {
	if a.GetResource().GroupResource() != api.Resource("pods") {
		return nil
	}
	ok := a.GetSubresource() == ""
	for _, s := range subresources {
		ok = ok || a.GetSubresource() == s
	}
	pod, isPod := a.GetObject().(*api.Pod)
	if !ok || !isPod {
		return nil
	}
	return pod
}

func (s serviceAccount) Admit(ctx context.Context, a admission.Attributes, o admission.ObjectInterfaces) error {
	pod := podOf(a)
	if pod == nil || a.GetOperation() != admission.Create {
		return nil
	}
	if _, mirror := pod.Annotations[api.MirrorPodAnnotationKey]; mirror {
		return s.Validate(ctx, a, o)
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = defaultAccount
		pod.Spec.DeprecatedServiceAccount = defaultAccount //nolint:staticcheck // kept in step for old clients
	}
	account, err := s.account(ctx, a, pod.Spec.ServiceAccountName)
	if err != nil {
		return err
	}
	if automount(account, pod) {
		mountToken(pod)
	}
	if len(pod.Spec.ImagePullSecrets) == 0 {
		pod.Spec.ImagePullSecrets = make([]api.LocalObjectReference, len(account.ImagePullSecrets))
		for i, ref := range account.ImagePullSecrets {
			pod.Spec.ImagePullSecrets[i].Name = ref.Name
		}
	}
	return s.Validate(ctx, a, o)
}

func (s serviceAccount) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod := podOf(a, "ephemeralcontainers")
	if pod == nil || a.GetOperation() == admission.Update && a.GetSubresource() == "" {
		return nil
	}
	if _, mirror := pod.Annotations[api.MirrorPodAnnotationKey]; mirror && a.GetOperation() == admission.Create {
		return validateMirror(a, pod)
	}
	if pod.Spec.ServiceAccountName == "" {
		return admission.NewForbidden(a, fmt.Errorf("no service account specified for pod %s/%s", a.GetNamespace(), pod.Name))
	}
	account, err := s.account(ctx, a, pod.Spec.ServiceAccountName)
	if err != nil {
		return err
	}
	if enforce, err := strconv.ParseBool(account.Annotations[enforceSecrets]); err == nil && enforce {
		if err := limitSecrets(account, pod, a.GetSubresource() == "ephemeralcontainers"); err != nil {
			return admission.NewForbidden(a, err)
		}
	}
	return nil
}

func validateMirror(a admission.Attributes, pod *api.Pod) error {
	if pod.Spec.ServiceAccountName != "" {
		return admission.NewForbidden(a, errors.New(mirrorNoAccounts))
	}
	secrets := false
	podutil.VisitPodSecretNames(pod, func(string) bool { secrets = true; return false }, podutil.AllContainers)
	if secrets {
		return admission.NewForbidden(a, errors.New(mirrorNoSecrets))
	}
	for _, v := range pod.Spec.Volumes {
		if v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.ServiceAccountToken != nil {
				return admission.NewForbidden(a, errors.New(mirrorNoProjection))
			}
		}
	}
	return nil
}

// account finds the account, waiting a moment for one that a controller makes.
func (s serviceAccount) account(ctx context.Context, a admission.Attributes, name string) (*corev1.ServiceAccount, error) {
	account, err := s.accounts.get(a.GetNamespace(), name)
	if err == nil && account == nil {
		if name == defaultAccount {
			account, err = s.accounts.wait(ctx, a.GetNamespace(), name, accountPatience)
		} else {
			account, err = s.accounts.latest(ctx, a.GetNamespace(), name)
		}
	}
	if err == nil && account == nil {
		err = apierrors.NewNotFound(api.Resource("serviceaccount"), name)
	}
	if err != nil {
		return nil, admission.NewForbidden(a, fmt.Errorf("error looking up service account %s/%s: %w", a.GetNamespace(), name, err))
	}
	return account, nil
}

func automount(account *corev1.ServiceAccount, pod *api.Pod) bool {
	if want := pod.Spec.AutomountServiceAccountToken; want != nil {
		return *want
	}
	if want := account.AutomountServiceAccountToken; want != nil {
		return *want
	}
	return true
}

// mountToken gives every container the token volume that has nothing at its path.
func mountToken(pod *api.Pod) {
	name, has := "", false
	for _, v := range pod.Spec.Volumes {
		if strings.HasPrefix(v.Name, tokenVolume+"-") {
			name, has = v.Name, true
			break
		}
	}
	if !has {
		name = names.SimpleNameGenerator.GenerateName(tokenVolume + "-")
	}
	mounted := mountInto(pod.Spec.InitContainers, name)
	mounted = mountInto(pod.Spec.Containers, name) || mounted
	if mounted && !has {
		pod.Spec.Volumes = append(pod.Spec.Volumes, api.Volume{Name: name, VolumeSource: api.VolumeSource{Projected: tokenSource()}})
	}
}

func mountInto(containers []api.Container, volume string) (mounted bool) {
containers:
	for i := range containers {
		for _, m := range containers[i].VolumeMounts {
			if m.MountPath == tokenMountPath {
				continue containers
			}
		}
		containers[i].VolumeMounts = append(containers[i].VolumeMounts, api.VolumeMount{Name: volume, ReadOnly: true, MountPath: tokenMountPath})
		mounted = true
	}
	return mounted
}

// tokenSource is the token, the cluster's CA and the namespace, as files.
func tokenSource() *api.ProjectedVolumeSource {
	mode, seconds := projectedFileMode, int64(tokenSeconds)
	return &api.ProjectedVolumeSource{DefaultMode: &mode, Sources: []api.VolumeProjection{
		{ServiceAccountToken: &api.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: &seconds}},
		{ConfigMap: &api.ConfigMapProjection{
			LocalObjectReference: api.LocalObjectReference{Name: rootCAConfigMap},
			Items:                []api.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
		}},
		{DownwardAPI: &api.DownwardAPIProjection{Items: []api.DownwardAPIVolumeFile{{
			Path: "namespace", FieldRef: &api.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"},
		}}}},
	}}
}

// limitSecrets holds the pod to the secrets that its account lists.
func limitSecrets(account *corev1.ServiceAccount, pod *api.Pod, ephemeralOnly bool) error {
	mountable := map[string]bool{}
	for _, ref := range account.Secrets {
		mountable[ref.Name] = true
	}
	if ephemeralOnly {
		for i := range pod.Spec.EphemeralContainers {
			c := (*api.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
			if err := limitContainer("ephemeral container", c, mountable, account.Name); err != nil {
				return err
			}
		}
		return nil
	}
	for _, v := range pod.Spec.Volumes {
		if v.Secret != nil && !mountable[v.Secret.SecretName] {
			return fmt.Errorf("volume with secret.secretName=\"%s\" is not allowed because service account %s does not reference that secret", v.Secret.SecretName, account.Name)
		}
	}
	for i := range pod.Spec.InitContainers {
		if err := limitContainer("init container", &pod.Spec.InitContainers[i], mountable, account.Name); err != nil {
			return err
		}
	}
	for i := range pod.Spec.Containers {
		if err := limitContainer("container", &pod.Spec.Containers[i], mountable, account.Name); err != nil {
			return err
		}
	}
	pull := map[string]bool{}
	for _, ref := range account.ImagePullSecrets {
		pull[ref.Name] = true
	}
	for i, ref := range pod.Spec.ImagePullSecrets {
		if !pull[ref.Name] {
			return fmt.Errorf("imagePullSecrets[%d].name=\"%s\" is not allowed because service account %s does not reference that imagePullSecret", i, ref.Name, account.Name)
		}
	}
	return nil
}

func limitContainer(what string, c *api.Container, mountable map[string]bool, account string) error {
	for _, env := range c.Env {
		if env.ValueFrom != nil && env.ValueFrom.SecretKeyRef != nil && !mountable[env.ValueFrom.SecretKeyRef.Name] {
			return fmt.Errorf("%s %s with envVar %s referencing secret.secretName=\"%s\" is not allowed because service account %s does not reference that secret",
				what, c.Name, env.Name, env.ValueFrom.SecretKeyRef.Name, account)
		}
	}
	for _, from := range c.EnvFrom {
		if from.SecretRef != nil && !mountable[from.SecretRef.Name] {
			return fmt.Errorf("%s %s with envFrom referencing secret.secretName=\"%s\" is not allowed because service account %s does not reference that secret",
				what, c.Name, from.SecretRef.Name, account)
		}
	}
	return nil
}

package source

import (
	"context"
	"encoding/pem"
	"strings"
	"testing"
	"testing/synctest"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"kubus.dev/proto/bustest/apitest"
)

const bundlePath = "/apis/certificates.k8s.io/v1/clustertrustbundles/"

func certificatePEM(der string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(der)}))
}

func bundle(name, signer, team string, ders ...string) *certificatesv1.ClusterTrustBundle {
	b := &certificatesv1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"team": team}}}
	b.Spec.SignerName = signer
	for _, der := range ders {
		b.Spec.TrustBundle += "between\n" + certificatePEM(der)
	}
	return b
}

func TestTrustAnchorsAreThoseOfTheNamedBundles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		api := apitest.New()
		for _, b := range []*certificatesv1.ClusterTrustBundle{
			bundle("one", "", "", "b", "a", "b"), bundle("x:a", "x", "red", "c"), bundle("x:b", "x", "blue", "d", "c"), bundle("y:a", "y", "red", "e"),
		} {
			api.Put(bundlePath+b.Name, b)
		}
		b := NewBundles(ctx, api.Client("system:node:n"), open(t), zap.NewNop(), func([]types.UID) {})
		defer b.Wait()
		defer cancel()
		red := &metav1.LabelSelector{MatchLabels: map[string]string{"team": "red"}}
		for name, c := range map[string]struct {
			get  func() ([]byte, error)
			want []string
			says string
		}{
			"a name, without what is between and twice":   {func() ([]byte, error) { return b.ByName(ctx, "one", false) }, []string{"a", "b"}, ""},
			"a name that is not there":                    {func() ([]byte, error) { return b.ByName(ctx, "two", false) }, nil, `clustertrustbundle.certificates.k8s.io "two" not found`},
			"an optional name that is not there":          {func() ([]byte, error) { return b.ByName(ctx, "two", true) }, nil, ""},
			"all of a signer":                             {func() ([]byte, error) { return b.BySigner(ctx, "x", &metav1.LabelSelector{}, false) }, []string{"c", "d"}, ""},
			"those of a signer with a label":              {func() ([]byte, error) { return b.BySigner(ctx, "x", red, false) }, []string{"c"}, ""},
			"a signer without a selector":                 {func() ([]byte, error) { return b.BySigner(ctx, "x", nil, false) }, nil, "matched zero ClusterTrustBundles"},
			"an optional signer of whom there is nothing": {func() ([]byte, error) { return b.BySigner(ctx, "z", red, true) }, nil, ""},
			"a selector that is none": {func() ([]byte, error) {
				return b.BySigner(ctx, "x", &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "team", Operator: "Like"}}}, false)
			}, nil, "while parsing label selector"},
		} {
			got, err := c.get()
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: the error is %v", name, err)
			}
			want := ""
			for _, der := range c.want {
				want += certificatePEM(der)
			}
			if string(got) != want {
				t.Errorf("%s: got %s", name, got)
			}
		}
	})
}

func TestPodsThatNameBundlesHearOfChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		api := apitest.New()
		var told []types.UID
		b := NewBundles(ctx, api.Client("system:node:n"), open(t), zap.NewNop(), func(pods []types.UID) { told = append(told, pods...) })
		defer b.Wait()
		defer cancel()
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "names"}}
		pod.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{}}}}}}}
		b.Hold(pod)
		b.Hold(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "does not"}})
		if len(api.Requests()) > 0 {
			t.Errorf("asked before anybody needs it: %v", api.Requests())
		}
		if got, err := b.ByName(ctx, "one", true); err != nil || len(got) > 0 {
			t.Errorf("got %s, %v", got, err)
		}
		api.Put(bundlePath+"one", bundle("one", "", "", "a"))
		synctest.Wait()
		if len(told) != 1 || told[0] != "names" {
			t.Errorf("told are %v", told)
		}
		if got, err := b.ByName(ctx, "one", false); err != nil || string(got) != certificatePEM("a") {
			t.Errorf("got %s, %v", got, err)
		}
		b.Release("names")
		api.Delete(bundlePath + "one")
		synctest.Wait()
		if len(told) != 1 {
			t.Errorf("told are %v after the pod went", told)
		}
	})
}

func TestWithoutTheAPITheKeptBundlesMustDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		api, store := apitest.New(), open(t)
		api.Put(bundlePath+"one", bundle("one", "", "", "a"))
		before := NewBundles(ctx, api.Client("system:node:n"), store, zap.NewNop(), func([]types.UID) {})
		defer before.Wait()
		after := NewBundles(ctx, api.Client("system:node:n"), store, zap.NewNop(), func([]types.UID) {})
		defer after.Wait()
		defer cancel()
		if _, err := before.ByName(ctx, "one", false); err != nil {
			t.Fatal(err)
		}
		api.Away(true)
		if got, err := after.ByName(ctx, "one", false); err != nil || string(got) != certificatePEM("a") {
			t.Errorf("got %s, %v", got, err)
		}
	})
}

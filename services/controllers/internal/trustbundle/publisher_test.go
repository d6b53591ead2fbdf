package trustbundle

import (
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func newBundle(name, of, content string) *bundle {
	return &bundle{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: certificatesv1.ClusterTrustBundleSpec{SignerName: of, TrustBundle: content}}
}

func TestThereIsOneBundleWithTheCA(t *testing.T) {
	t.Parallel()
	own := "kubernetes.io:kube-apiserver-serving:6959097001d10501ac7d54c0" // printf ca | sha256sum
	for _, c := range []struct {
		title   string
		present []*bundle
		create  bool
		update  bool
		deleted int
	}{
		{title: "none is there: it is made", create: true},
		{title: "it is there: nothing to do", present: []*bundle{newBundle(name("ca"), signer, "ca")}},
		{title: "somebody changed it: it is put right", present: []*bundle{newBundle(name("ca"), signer, "other")}, update: true},
		{title: "those of earlier CAs go", present: []*bundle{newBundle(name("ca"), signer, "ca"), newBundle(name("old"), signer, "old")}, deleted: 1},
		{title: "those of other signers stay", present: []*bundle{newBundle(name("ca"), signer, "ca"), newBundle("x", "example.com/x", "old"), newBundle("y", "", "old")}},
	} {
		next := plan("ca", c.present)
		if (next.Create != nil) != c.create || (next.Update != nil) != c.update || len(next.Delete) != c.deleted {
			t.Errorf("%s: got %+v", c.title, next)
		}
		if next.Create != nil && (next.Create.Spec.TrustBundle != "ca" || next.Create.Spec.SignerName != signer) {
			t.Errorf("%s: made %+v", c.title, next.Create)
		}
	}
	if got := name("ca"); got != own {
		t.Errorf("name: got %s, want %s", got, own)
	}
}

package accounttoken

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func newAccount(uid types.UID, secrets ...string) *corev1.ServiceAccount {
	a := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "a", UID: uid}}
	for _, name := range secrets {
		a.Secrets = append(a.Secrets, corev1.ObjectReference{Name: name})
	}
	return a
}

func TestATokenFollowsItsAccount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		uid     string
		account *corev1.ServiceAccount
		want    standing
	}{
		{"the account is there", "1", newAccount("1"), right},
		{"it is gone", "1", nil, foreign},
		{"another has its name", "1", newAccount("2"), foreign},
		{"the token is not filled", "", newAccount("1"), empty},
		{"nor is the account there", "", nil, foreign},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{}}}
		if c.uid != "" {
			secret.Annotations[corev1.ServiceAccountUIDKey] = c.uid
		}
		if got := judge(secret, c.account); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestAnAccountListsATokenNoMore(t *testing.T) {
	t.Parallel()
	account := newAccount("1", "x", "y", "x")
	left := without(account, "x")
	if lists(left, "x") || !lists(left, "y") || !lists(account, "x") {
		t.Errorf("got %v of %v", left.Secrets, account.Secrets)
	}
}

package accounttoken

import (
	"testing"
	"time"

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

func TestWhichTokensNobodyUses(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 6, 15, 12, 0, 0, 0, time.UTC)
	const unused = 365 * 24 * time.Hour
	old := now.AddDate(-2, 0, 0)
	for _, c := range []struct {
		name string
		made time.Time
		used string
		want bool
	}{
		{"never, since uses are noted", old, "", true},
		{"long ago", old, "2025-06-14", true},
		{"on the last day that counts", old, "2025-06-15", false},
		{"today", old, "2026-06-15", false},
		{"nobody can tell when", old, "yesterday", false},
		{"it is new", now.AddDate(0, -1, 0), "", false},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(c.made), Labels: map[string]string{}}}
		if c.used != "" {
			secret.Labels[lastUsedLabel] = c.used
		}
		if got := idle(secret, now, unused); got != c.want {
			t.Errorf("used %s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestOnlyTokensThatWereMadeByThemselvesAreCleaned(t *testing.T) {
	t.Parallel()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "a-token-x", Annotations: map[string]string{corev1.ServiceAccountUIDKey: "1"}}}
	for _, c := range []struct {
		name    string
		account *corev1.ServiceAccount
		want    bool
	}{
		{"its account lists it", newAccount("1", "a-token-x"), true},
		{"its account does not: somebody made it", newAccount("1", "other"), false},
		{"another account has the name", newAccount("2", "a-token-x"), false},
		{"it has no account", nil, false},
	} {
		if got := byItself(secret, c.account); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

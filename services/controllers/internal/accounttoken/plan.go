package accounttoken

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// standing is how a token stands to the account it names.
type standing int

const (
	right   standing = iota
	foreign          // of no account that is there
	empty            // not filled yet
)

// judge compares a token with the account of the name it has; nil: none is there.
func judge(secret *corev1.Secret, account *corev1.ServiceAccount) standing {
	uid := secret.Annotations[corev1.ServiceAccountUIDKey]
	switch {
	case account == nil, uid != "" && uid != string(account.UID):
		return foreign
	case uid == "":
		return empty
	}
	return right
}

func lists(account *corev1.ServiceAccount, secret string) bool {
	return slices.ContainsFunc(account.Secrets, func(r corev1.ObjectReference) bool { return r.Name == secret })
}

func without(account *corev1.ServiceAccount, secret string) *corev1.ServiceAccount {
	account = account.DeepCopy()
	account.Secrets = slices.DeleteFunc(account.Secrets, func(r corev1.ObjectReference) bool { return r.Name == secret })
	return account
}

// What kube-apiserver notes of tokens, and where it says since when.
const (
	lastUsedLabel     = "kubernetes.io/legacy-token-last-used"
	invalidSinceLabel = "kubernetes.io/legacy-token-invalid-since"
	trackingConfigMap = "kube-apiserver-legacy-service-account-token-tracking"
)

// byItself tells whether a token was made for its account without anybody asking:
// only then the account lists it.
func byItself(secret *corev1.Secret, account *corev1.ServiceAccount) bool {
	return account != nil && judge(secret, account) == right && lists(account, secret.Name)
}

// idle tells whether a token is old and was not used for as long as unused. One that
// has a label nobody can read is not known to be.
func idle(secret *corev1.Secret, now time.Time, unused time.Duration) bool {
	if !secret.CreationTimestamp.Time.Before(now.Add(-unused)) {
		return false
	}
	last, noted := secret.Labels[lastUsedLabel]
	if !noted {
		return true // not once since uses are noted
	}
	_, err := time.Parse(time.DateOnly, last)
	return err == nil && last < lastDay(now, unused)
}

// invalidSince is the day on which the token was marked, if it was.
func invalidSince(secret *corev1.Secret) (day string, marked bool) {
	day = secret.Labels[invalidSinceLabel]
	_, err := time.Parse(time.DateOnly, day)
	return day, err == nil
}

// lastDay is the last day that counts as lately.
func lastDay(now time.Time, unused time.Duration) string {
	return now.UTC().Add(-unused).Format(time.DateOnly)
}

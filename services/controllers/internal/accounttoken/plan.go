package accounttoken

import (
	"slices"

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

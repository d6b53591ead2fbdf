package bootstrap

import (
	"regexp"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	namespace = "kube-system" // of tokens
	public    = "kube-public" // of what they sign
	signed    = "cluster-info"
	content   = "kubeconfig"      // what is signed there
	signature = "jws-kubeconfig-" // and its signatures, with the token's id behind
)

var secretName = regexp.MustCompile(`^bootstrap-token-([a-z0-9]{6})$`)

func isToken(secret *corev1.Secret) bool {
	return secret.Namespace == namespace && secret.Type == corev1.SecretTypeBootstrapToken
}

// token is a Secret's, as far as it may sign.
type token struct {
	ID, Secret string
	Left       time.Duration // until it expires; zero: never
}

// signing reads a token that is for signing and has not expired.
func signing(secret *corev1.Secret, now time.Time) (token, bool) {
	name := secretName.FindStringSubmatch(secret.Name)
	if name == nil || !isToken(secret) {
		return token{}, false
	}
	left, expired := expiry(secret, now)
	t := token{string(secret.Data["token-id"]), string(secret.Data["token-secret"]), left}
	return t, t.ID == name[1] && t.Secret != "" && !expired && string(secret.Data["usage-bootstrap-signing"]) == "true"
}

// expiry is how long a token is good; zero for ever. One that is dated by no date has expired.
func expiry(secret *corev1.Secret, now time.Time) (left time.Duration, expired bool) {
	text := string(secret.Data["expiration"])
	if text == "" {
		return 0, false
	}
	at, err := time.Parse(time.RFC3339, text)
	if left = at.Sub(now); err != nil || left <= 0 {
		return 0, true
	}
	return left, false
}

package bootstrap

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
)

// detached signs a text as a JWS with its content left out: RFC 7515, appendix F.
func detached(text string, by token) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": "HS256", "kid": by.ID})
	if err != nil {
		return "", fmt.Errorf("signing with token %s: %w", by.ID, err)
	}
	head := base64.RawURLEncoding.EncodeToString(header)
	mac := hmac.New(sha256.New, []byte(by.Secret))
	mac.Write([]byte(head + "." + base64.RawURLEncoding.EncodeToString([]byte(text))))
	return head + ".." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), nil
}

// signedBy gives the data of cluster-info with the signatures of exactly these tokens,
// and whether that is a change. Without anything to sign nothing is touched.
func signedBy(data map[string]string, tokens []token) (map[string]string, bool, error) {
	text, ok := data[content]
	if !ok {
		return data, false, nil
	}
	next := maps.Clone(data)
	maps.DeleteFunc(next, func(key, _ string) bool { return strings.HasPrefix(key, signature) })
	for _, t := range tokens {
		jws, err := detached(text, t)
		if err != nil {
			return data, false, err
		}
		next[signature+t.ID] = jws
	}
	return next, !maps.Equal(data, next), nil
}

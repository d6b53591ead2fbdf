package volume

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// keptToken gives the token that an earlier SetUp wrote, while it is good for a
// while yet: an agent that starts without the cluster goes on with it.
func keptToken(file string, now time.Time) (token string, ok bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", false
	}
	expires := tokenExpiry(string(data))
	return string(data), expires.Sub(now) > time.Minute
}

// tokenExpiry reads a JWT's exp; zero when it cannot. The signature is not ours to check.
func tokenExpiry(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Exp int64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.Exp == 0 {
		return time.Time{}
	}
	return time.Unix(claims.Exp, 0)
}

func tokenPath(dir, path string) string {
	return filepath.Join(dir, dataLink, filepath.FromSlash(path))
}

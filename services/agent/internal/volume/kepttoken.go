package volume

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// kept is the token that an earlier SetUp wrote. While its renewal is not due it
// is taken as it is: SetUp may run often, and an agent that starts without the
// cluster goes on with what is there.
type kept struct {
	value            string
	renewAt, expires time.Time // zero when there is none
}

func keptToken(file string) kept {
	data, err := os.ReadFile(file)
	if err != nil {
		return kept{}
	}
	issued, expires := tokenLife(string(data))
	return kept{string(data), issued.Add(min(expires.Sub(issued)*8/10, 24*time.Hour)), expires}
}

// tokenLife reads a JWT's iat and exp; zero when it cannot. The signature is not
// ours to check.
func tokenLife(token string) (issued, expires time.Time) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, time.Time{}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}, time.Time{}
	}
	var claims struct {
		IssuedAt int64 `json:"iat"`
		Expires  int64 `json:"exp"`
	}
	if json.Unmarshal(payload, &claims) != nil || claims.IssuedAt == 0 || claims.Expires <= claims.IssuedAt {
		return time.Time{}, time.Time{}
	}
	return time.Unix(claims.IssuedAt, 0), time.Unix(claims.Expires, 0)
}

func tokenPath(dir, path string) string {
	return filepath.Join(dir, dataLink, filepath.FromSlash(path))
}

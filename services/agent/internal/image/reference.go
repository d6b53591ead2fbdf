package image

import (
	"fmt"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// Reference is a normalised image reference: "docker.io/library/busybox:latest" or with "@sha256:…".
type Reference struct {
	ref name.Reference
}

// ParseReference normalises as Docker does: docker.io, library/ and :latest are added where missing.
func ParseReference(s string) (Reference, error) {
	r, err := name.ParseReference(s, name.WeakValidation)
	if err != nil {
		return Reference{}, fmt.Errorf("couldn't parse image name %q: %w", s, err)
	}
	return Reference{r}, nil
}

// String is the reference in full.
func (r Reference) String() string { return familiar(r.ref.Name()) }

// Repository is the reference without tag and digest.
func (r Reference) Repository() string { return familiar(r.ref.Context().Name()) }

// Digest is the digest it names, or "".
func (r Reference) Digest() string {
	if d, ok := r.ref.(name.Digest); ok {
		return d.DigestStr()
	}
	return ""
}

// familiar gives Docker Hub the name that people write.
func familiar(s string) string {
	if rest, ok := strings.CutPrefix(s, name.DefaultRegistry); ok && (rest == "" || rest[0] == '/') {
		return "docker.io" + rest
	}
	return s
}

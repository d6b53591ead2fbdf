package registry

import (
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Save writes an archive as docker save does, with one image of this name: the web server,
// whose version is "archive".
func Save(path, reference, webBinary string) error {
	tag, err := name.NewTag(reference)
	if err != nil {
		return err
	}
	program, err := os.ReadFile(webBinary)
	if err != nil {
		return fmt.Errorf("reading the web image's program: %w", err)
	}
	layer, err := layerOf([]file{{name: "web", mode: 0o755, data: program}})
	if err != nil {
		return err
	}
	img, err := image([]v1.Layer{layer}, v1.Config{Entrypoint: []string{"/web"}, Env: []string{"VERSION=archive"}})
	if err != nil {
		return err
	}
	return tarball.WriteToFile(path, tag, img)
}

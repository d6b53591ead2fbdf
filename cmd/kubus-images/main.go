// Command kubus-images makes one archive with an image of each process, for
// `docker load` (compose.yaml runs them) or `kubus image import`:
//
//	kubus-images -bin bin -version v1.2.3 -out bin/images.tar
//
// An image is a static program and nothing else. Those of a node also have the programs
// that it calls, iptables and nft, which are the building machine's with their libraries.
// The same programs give the same image, byte for byte.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	bin := flag.String("bin", "bin", "folder with the programs")
	version := flag.String("version", "latest", "tag of the images")
	out := flag.String("out", "bin/images.tar", "archive to write")
	flag.Parse()
	if err := run(*bin, *version, *out); err != nil {
		fmt.Fprintln(os.Stderr, "kubus-images:", err)
		os.Exit(1)
	}
}

func run(bin, version, out string) error {
	archive := map[name.Reference]v1.Image{}
	for _, r := range recipes() {
		tag, err := name.NewTag("kubus/" + r.name + ":" + version)
		if err != nil {
			return err
		}
		if archive[tag], err = r.build(bin); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	partial := out + ".partial"
	f, err := os.Create(partial)
	if err != nil {
		return err
	}
	defer os.Remove(partial) // nothing is left of it after the rename
	if err := tarball.MultiRefWrite(archive, f); err != nil {
		_ = f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(partial, out); err != nil {
		return err
	}
	fmt.Printf("%s: %d images\n", filepath.Clean(out), len(archive))
	return nil
}

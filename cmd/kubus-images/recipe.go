package main

import (
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// recipe is what an image is made of.
type recipe struct {
	name     string
	programs []string // of ours, in /usr/local/bin; the first is what the container runs
	args     []string // that it is run with
	host     []string // programs of the machine, with their libraries
	extra    []string // further files of the machine: patterns
}

// Folders in which the machine keeps what programs open by themselves.
const (
	xtables  = "/usr/lib/*-linux-gnu/xtables/lib*.so"
	roots    = "/etc/ssl/certs/ca-certificates.crt"
	ourPlace = "/usr/local/bin"
)

var (
	rules  = []string{"iptables", "iptables-save", "iptables-restore", "iptables-nft", "iptables-nft-save", "iptables-nft-restore", "iptables-legacy", "iptables-legacy-save", "iptables-legacy-restore", "nft"}
	onNode = []string{xtables, roots}
)

// recipes lists the images: one a service, NATS, and the command.
func recipes() []recipe {
	list := []recipe{
		{name: "nats", programs: []string{"nats-server"}, args: []string{"-c", "/etc/kubus/nats-server.conf"}},
		{name: "kubus", programs: []string{"kubus"}},
	}
	for _, s := range []string{"gateway", "status", "controllers", "scheduler", "cloud", "events", "metrics", "dns", "proxy", "agent"} {
		r := recipe{name: s, programs: []string{"kubus-" + s}, args: []string{"-config", "/etc/kubus/" + s + ".yaml"}}
		switch s {
		case "proxy":
			r.host, r.extra = rules, onNode
		case "agent":
			r.programs = append(r.programs, "kubus-shim", "runc")
			r.host, r.extra = rules, onNode
		}
		list = append(list, r)
	}
	return list
}

// build makes the image of programs in the folder bin.
func (r recipe) build(bin string) (v1.Image, error) {
	t := &tree{}
	for _, p := range r.programs {
		t.file(filepath.Join(ourPlace, p), filepath.Join(bin, p))
	}
	for _, p := range r.host {
		t.program(p)
	}
	for _, pattern := range r.extra {
		t.matching(pattern)
	}
	for _, dir := range []string{"/tmp", "/run", "/var/lib/kubus", "/etc/kubus"} {
		t.dir(dir)
	}
	layer, err := t.layer()
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(image, config(image, v1.Config{
		Entrypoint: append([]string{filepath.Join(ourPlace, r.programs[0])}, r.args...),
		Env:        []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin"},
	}))
}

// config is the image's own with that for its containers.
func config(image v1.Image, of v1.Config) *v1.ConfigFile {
	c, err := image.ConfigFile()
	if err != nil {
		panic(err) // it is in memory
	}
	c = c.DeepCopy()
	c.Config, c.OS, c.Architecture = of, "linux", arch
	return c
}

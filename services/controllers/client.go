package controllers

import (
	"slices"
	"strings"

	"kubus.dev/proto"
	"kubus.dev/proto/cluster"
)

// Options say how a process of its own reaches the cluster: each group that it runs by a
// connection of the group's. Where one of them may read all objects, the process reads the
// log once, by that one; otherwise each group reads what it may.
func Options(cfg *Config) cluster.Options {
	var whole cluster.Options
	var parts []cluster.Options
	roles := proto.Roles("")
	for _, g := range cfg.chosen() {
		name := proto.ControllersRole(g.Name)
		role := roles[slices.IndexFunc(roles, func(r proto.Role) bool { return r.Name == name })]
		o := cluster.Options{
			URL: cfg.Bus.URL, CAFile: cfg.Bus.CAFile, NkeySeedFile: strings.ReplaceAll(cfg.Bus.NkeySeedFile, "*", g.Name),
			Name: name, Identity: proto.ControllersLeader(g.Name),
		}
		all := false
		for _, read := range role.Reads {
			all = all || read.Stream == proto.StateStream.Name && len(read.Resources) == 0
			o.Resources, o.Fences = append(o.Resources, read.Resources...), append(o.Fences, read.Fences...)
		}
		if all {
			whole = o
		} else {
			parts = append(parts, o)
		}
	}
	if whole.Name == "" { // nobody reads for the others
		whole, parts = parts[0], parts[1:]
	} else {
		for i := range parts {
			parts[i].NoLog, parts[i].Resources, parts[i].Fences = true, nil, nil
		}
	}
	whole.Parts = parts
	return whole
}

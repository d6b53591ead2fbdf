#!/bin/sh
# Builds runc from its Go module at the version go.mod pins, statically linked, with seccomp.
# Needs a C compiler, pkg-config and libseccomp-dev. Usage: build.sh OUT
set -eu
out=${1:?usage: build.sh OUT}
case $out in /*) ;; *) out=$PWD/$out ;; esac
cd "$(dirname "$0")"
CGO_ENABLED=1 GOWORK=off GOFLAGS=-buildvcs=false exec ${SLOT:-} go build -trimpath \
	-tags 'seccomp urfave_cli_no_docs runc_nocriu netgo osusergo' \
	-ldflags '-s -w -X main.gitCommit=v1.5.2 -linkmode external -extldflags -static' \
	-o "$out" github.com/opencontainers/runc

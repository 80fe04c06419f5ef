#!/usr/bin/env bash
# dist.sh VERSION [ARCH...]: builds packages, archives for Linux and Windows, checksums and SBOMs into dist/, the same bytes
# each time for the same commit and toolchain. Called by `make dist`, which has built bin/tools/nfpm.
set -eu
cd "$(dirname "$0")/../../.."
version=$1; shift
# A package's version begins with a digit: without a tag it is 0.0.0 and the commit.
case $version in v[0-9]*) package=${version#v};; *) package=0.0.0~git.${version//-/.};; esac
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
umask 022
commands=(homing homing/homing-observe homing-bench)
rm -rf dist; mkdir -p dist
for ARCH in "${@:-amd64}"; do
  STAGE=dist/stage/$ARCH
  mkdir -p "$STAGE"/{man,completion,doc}
  for command in "${commands[@]}"; do
    CGO_ENABLED=0 GOOS=linux GOARCH=$ARCH go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" -o "$STAGE/${command##*/}" ./cmd/$command
  done
  # What is generated runs here, whatever the package is for.
  for command in "${commands[@]}"; do # the last one that writes a page knows most of it
    go run -buildvcs=false -ldflags "-X main.version=$version" ./cmd/$command man "$STAGE/man"
  done
  for page in "$STAGE"/man/*.md; do go tool go-md2man -in "$page" -out "${page%.md}"; rm "$page"; done
  for shell in bash zsh fish; do go run ./cmd/homing completion $shell >"$STAGE/completion/homing.$shell"; done
  # The example, with what the unit has directories for: status answers, and a restart keeps what was learned.
  go run ./cmd/homing config example | sed -e 's|^#admin:$|admin:|' -e 's|^  #address: 127.0.0.1:9090$|  address: unix:/run/homing/admin.sock|' \
    -e 's|^#\(state_dir: /var/lib/homing\)$|\1|' >"$STAGE/homing.yaml"
  for line in 'admin:' '  address: unix:/run/homing/admin.sock' 'state_dir: /var/lib/homing'; do
    grep -qxF -e "$line" "$STAGE/homing.yaml" || { echo "dist: the example has no line \"$line\" any more: mend the sed above" >&2; exit 1; }
  done
  go run ./cmd/homing metrics >"$STAGE/doc/metrics.txt"
  gzip -9nf "$STAGE"/man/*
  for section in 1 5; do mkdir "$STAGE/man/man$section"; mv "$STAGE"/man/*.$section.gz "$STAGE/man/man$section/"; done
  cp README.md LICENSE cmd/homing/packaging/{nginx.md,iis.md,transparent.conf,dashboard.json,alerts.yml} "$STAGE/doc/"
  mkdir -p "$STAGE/doc/cluster" && cp -r cluster/examples "$STAGE/doc/cluster/" # where the README has them
  sed "s|@STAGE@|$STAGE|; s|@ARCH@|$ARCH|; s|@VERSION@|$package|" cmd/homing/packaging/nfpm.yaml >"$STAGE/nfpm.yaml"
  for format in deb rpm; do bin/tools/nfpm package -f "$STAGE/nfpm.yaml" -p $format -t dist/ >"$STAGE/nfpm.log" || { cat "$STAGE/nfpm.log" >&2; exit 1; }; done
  rm "$STAGE"/nfpm.*
  name=homing_${package}_linux_$ARCH
  tar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -C "$STAGE" -cf - . | gzip -9n >"dist/$name.tar.gz"
  for program in homing homing-observe; do
    go run ./cmd/internal/sbom/generate "$STAGE/$program" $program "$version" >"dist/${name/homing/$program}.sbom.json"
  done
done
# What runs beside IIS: the agent, observe on capture files, and diagnose.
STAGE=dist/stage/windows name=homing_${package}_windows_amd64
mkdir -p "$STAGE"
for command in "${commands[@]}"; do
  CGO_ENABLED=0 GOOS=windows GOARCH=amd64 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" -o "$STAGE/${command##*/}.exe" ./cmd/$command
done
cp README.md LICENSE cmd/homing/packaging/iis.md "$STAGE/"
export TZ=UTC # an archive has the time of day and no zone
touch -d "@$SOURCE_DATE_EPOCH" "$STAGE"/*
(cd "$STAGE" && printf '%s\n' * | LC_ALL=C sort | zip -q -X -9 -@ "../../$name.zip")
for program in homing homing-observe; do
  go run ./cmd/internal/sbom/generate "$STAGE/$program.exe" $program "$version" >"dist/${name/homing/$program}.sbom.json"
done
rm -rf dist/stage
(cd dist && sha256sum -- * >SHA256SUMS)
cat dist/SHA256SUMS

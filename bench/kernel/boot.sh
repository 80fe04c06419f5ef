#!/usr/bin/env bash
# boot.sh VERSION ...: boots Debian's kernels of these versions (6.1: that of Debian 12) in an emulated machine, where both
# engines' tests run and --engine auto must choose what the kernel is good for. 3 to 10 minutes each. Kernels are kept in bin/kernel.
# ENGINE=epoll or io_uring tests that one alone. Needs qemu-system-x86_64 and a static busybox; not root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/../.."
busybox=$(command -v busybox)
! ldd "$busybox" >/dev/null 2>&1 || { echo 'boot.sh: busybox is not static: install busybox-static' >&2; exit 1; }
kept=$PWD/bin/kernel
mkdir -p "$kept/lists/partial"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Lists and packages of all releases, apart from this machine's own.
for release in bullseye bookworm trixie; do
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $release main"
done >"$kept/sources.list"
apt() { # COMMAND ...
  local command=$1; shift
  "$command" -o Dir::Etc::sourcelist="$kept/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$kept/lists" \
    -o Dir::Cache="$kept" -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o APT::Sandbox::User='' "$@"
}
fetch() { # VERSION: prints the path of the newest kernel
  local name
  name=$(apt apt-cache search --names-only "^linux-image-${1/./\\.}\\..*-cloud-amd64\$" | cut -d' ' -f1 | sort -V | tail -n 1)
  [ "$name" ] || { echo "boot.sh: Debian has no kernel $1" >&2; return 1; }
  if [ ! -d "$kept/$name" ]; then
    (cd "$tmp" && apt apt-get download -q "$name" && dpkg-deb -x "$name"_*.deb tree && mv tree "$kept/$name") >&2
  fi
  echo "$kept/$name"/boot/vmlinuz-*
}

apt apt-get update -q >"$tmp/apt" || { cat "$tmp/apt" >&2; exit 1; }
mkdir -p "$tmp"/root/{bin,proc,sys,dev,tmp}
cp "$here/init" "$tmp/root/init"
cp "$busybox" "$tmp/root/bin/busybox"
export CGO_ENABLED=0
go build -trimpath -o "$tmp/root/bin/" ./cmd/homing
for package in balancer/internal/netio balancer/affinity balancer; do
  go test -c -o "$tmp/root/bin/${package##*/}.test" "./$package"
done
(cd "$tmp/root" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$tmp/initrd"

failed=0
for version in "$@"; do
  image=$(fetch "$version")
  timeout 900 qemu-system-x86_64 -accel tcg -cpu qemu64 -smp 2 -m 1024 -display none -serial stdio -monitor none -nic none \
    -no-reboot -kernel "$image" -initrd "$tmp/initrd" -append 'console=ttyS0 quiet panic=-1'"${ENGINE:+ ENGINE=$ENGINE}" </dev/null | tee "$tmp/log" || true
  grep -q '^all passed' "$tmp/log" || { echo "boot.sh: not all passed on kernel $version" >&2; failed=1; }
done
exit $failed

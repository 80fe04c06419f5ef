#!/usr/bin/env bash
# dist_test.sh VERSION: dist/ must be the same when built again, its .deb must install on a fresh Debian root and run
# there with the unit's own command line and the example's configuration, and leave nothing but state and configuration
# when removed. Needs root, debootstrap, promtool; all traffic stays in a network namespace.
set -eu
cd "$(dirname "$0")/../../.."
version=$1
fail() { echo "dist_test: $*" >&2; exit 1; }

cp dist/SHA256SUMS "${TMPDIR:-/tmp}/homing.sums.$$"
cmd/homing/packaging/dist.sh "$version" >/dev/null
diff "${TMPDIR:-/tmp}/homing.sums.$$" dist/SHA256SUMS || fail "a second build has other bytes"
rm "${TMPDIR:-/tmp}/homing.sums.$$"
echo "reproducible: $(wc -l <dist/SHA256SUMS) files are the same when built again"

promtool check rules cmd/homing/packaging/alerts.yml >/dev/null || fail "promtool does not like the rules"

root=$(mktemp -d)
chmod 755 "$root" # the unit's user works in there
pid=
cleanup() {
  [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
  umount "$root/proc" 2>/dev/null || true
  rm -rf "$root"
}
trap cleanup EXIT
mirror=$(awk '$1 == "deb" {for (i = 2; i < NF; i++) if ($i ~ /^https?:/) {print $i; exit}} $1 == "URIs:" {print $2; exit}' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -n 1)
debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" 2>&1 || { tail -n 5 "$root.log" >&2; fail "debootstrap failed"; }
rm -f "$root.log"
mount -t proc proc "$root/proc"
inventory() { (cd "$root" && find . -xdev \( -path ./proc -o -path ./tmp -o -path ./var/lib/dpkg -o -path ./var/cache -o -path ./var/log \) -prune -o -print | sort); }
inventory >"$root/tmp/before"
cp dist/homing_*_amd64.deb "$root/tmp/homing.deb"
chroot "$root" dpkg -i /tmp/homing.deb >/dev/null || fail "dpkg -i failed"
chroot "$root" id homing >/dev/null || fail "no user homing"
chroot "$root" homing version
chroot "$root" homing config check /etc/homing/homing.yaml || fail "the example does not pass its own check"

# What systemd would run, as the user that it would take, with the capability of the unit.
start=$(sed -n 's/^ExecStart=//p' "$root/usr/lib/systemd/system/homing.service")
install -d -o "$(awk -F: '$1 == "homing" {print $3}' "$root/etc/passwd")" -m 0700 "$root/var/lib/homing" "$root/run/homing"
mkfifo "$root/tmp/up"
unshare --net -- bash -eu -c "
  ip link set lo up
  uid=\$(awk -F: '\$1 == \"homing\" {print \$3}' '$root/etc/passwd') gid=\$(awk -F: '\$1 == \"homing\" {print \$4}' '$root/etc/passwd')
  setpriv --reuid \$uid --regid \$gid --clear-groups --inh-caps -all,+net_bind_service,+sys_chroot --ambient-caps -all,+net_bind_service,+sys_chroot -- chroot '$root' $start >'$root/tmp/log' 2>&1 &
  homing=\$!
  for i in \$(seq 100); do grep -q ready '$root/tmp/log' && break; sleep 0.1; done
  grep -q ready '$root/tmp/log' || { cat '$root/tmp/log' >&2; kill \$homing; exit 1; }
  kill -HUP \$homing
  for i in \$(seq 50); do grep -q -i reload '$root/tmp/log' && break; sleep 0.1; done
  admin=\$(sed -n 's/.*msg=admin.* addr=\([^ ]*\).*/\1/p' '$root/tmp/log')
  [ -z \"\$admin\" ] || chroot '$root' homing status --admin \"\$admin\" >'$root/tmp/status' || true
  kill -TERM \$homing
  wait \$homing
" || { cat "$root/tmp/log" >&2; fail "the service did not run"; }
grep -i -E 'ready|reload' "$root/tmp/log"

chroot "$root" dpkg -r homing >/dev/null 2>&1 || fail "dpkg -r failed"
inventory >"$root/tmp/after"
left=$(comm -13 "$root/tmp/before" "$root/tmp/after" | grep -v -E '^\./(etc/homing|var/lib/homing|run/homing|etc/(passwd|group|shadow|gshadow)-?|etc/\.pwd\.lock)' || true)
[ -z "$left" ] || fail "left behind: $left"
echo "installed, ran, reloaded, ended, removed: only /etc/homing and /var/lib/homing are left"

#!/usr/bin/env bash
# dist_test.sh VERSION: dist/ must be the same when built again, its .deb must install on a fresh Debian root and run
# there with the unit's own command line and the example's configuration, answer `homing status`, leave nothing but state
# and configuration when removed, and nothing at all when purged; and on one that systemd has booted day_test.sh must find
# that all it says in an operator's day is true, and boot_test.sh that no conn dies of what systemd does to the service; and
# what is for Windows must run under wine. Needs root, debootstrap, promtool, systemd-analyze, systemd-nspawn, wine, MinGW; all
# traffic of the service stays in a network namespace.
set -eu
cd "$(dirname "$0")/../../.."
version=$1
fail() { echo "dist_test: $*" >&2; exit 1; }

work=$(mktemp -d)
root=$work/root
pid=
cleanup() {
  [ -z "$pid" ] || kill -9 "$pid" 2>/dev/null || true
  [ ! -d "$work/wine" ] || wineserver -k 2>/dev/null || true
  umount "$root/proc" 2>/dev/null || true
  rm -rf "$work"
}
trap cleanup EXIT
chmod 755 "$work" # the unit's user works in there

cp dist/SHA256SUMS "$work/sums"
cmd/homing/packaging/dist.sh "$version" >/dev/null
diff "$work/sums" dist/SHA256SUMS || fail "a second build has other bytes"
echo "reproducible: $(wc -l <dist/SHA256SUMS) files are the same when built again"

# What Windows gets runs there as here, as far as wine tells: observe says the same of the same capture, and diagnose reaches a server.
export WINEPREFIX=$work/wine WINEDEBUG=-all
mkdir "$work/windows" "$work/linux"
unzip -q dist/homing_*_windows_amd64.zip -d "$work/windows"
tar -xzf dist/homing_*_linux_amd64.tar.gz -C "$work/linux"
wine wineboot -i >"$work/log" 2>&1 || fail "wine does not start"
# Go asks for a library that wine 8 lacks.
printf '%s\n' '#include <windows.h>' 'BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);' \
  '__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE b, SIZE_T n) { return SystemFunction036(b, (ULONG)n); }' >"$work/prng.c"
x86_64-w64-mingw32-gcc -shared -o "$WINEPREFIX/drive_c/windows/system32/bcryptprimitives.dll" "$work/prng.c" -ladvapi32
findings() { "$@" observe --pcap - --certificate 1ms --json - <bin/captures/http2_follow_multistream.pcapng | tr -d '\r' | grep -v '"id":'; }
findings wine "$work/windows/homing.exe" >"$work/there" || fail "observe does not run on Windows"
findings "$work/linux/homing" | diff - "$work/there" || fail "observe says something else on Windows"
grep -q '"handshakes": 1,' "$work/there" || fail "observe saw no handshake"
wineserver -k || true # its sockets are where it was started
unshare --net -- bash -c 'ip link set lo up; "$0/linux/homing-bench" serve --backends 1 --listen 127.0.0.1:8441 --ca "$0/ca.pem" >"$0/log" 2>&1 & server=$!
  for i in $(seq 100); do grep -q ^control "$0/log" && break; sleep 0.1; done
  wine "$0/windows/homing-bench.exe" diagnose --sni backend.test --insecure 127.0.0.1:8441; code=$?; kill $server; exit $code' "$work" >"$work/there" || { cat "$work/there" "$work/log" >&2; fail "diagnose does not run on Windows"; }
wine "$work/windows/homing.exe" run 2>&1 | grep -q 'run is for Linux' || fail "run does not say that it is not for Windows"
wineserver -k || true
echo "Windows: observe and diagnose run"

promtool check rules cmd/homing/packaging/alerts.yml >/dev/null || fail "promtool does not like the rules"

mirror=$(.ci/mirror)
# bootstrap DIR [PACKAGE,...]: a fresh Debian root.
bootstrap() { debootstrap --variant=minbase ${2:+--include="$2"} bookworm "$1" "$mirror" >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; fail "debootstrap failed"; }; }
bootstrap "$root"
mount -t proc proc "$root/proc"
inventory() { (cd "$root" && find . -xdev \( -path ./proc -o -path ./tmp -o -path ./var/lib/dpkg -o -path ./var/cache -o -path ./var/log \) -prune -o -printf '%p %m %u %g\n' | sort); }
users() { cat "$root"/etc/{passwd,group,shadow,gshadow}; }
inventory >"$work/before"
users >"$work/users"
cp dist/homing_*_amd64.deb "$work/homing.deb"
dpkg_() { chroot "$root" dpkg "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "dpkg $1 failed"; }; }
install_() { cp "$work/homing.deb" "$root/tmp/"; dpkg_ -i /tmp/homing.deb; }
install_
chroot "$root" id homing >/dev/null || fail "no user homing"
chroot "$root" homing version
chroot "$root" homing-bench version
# Links to sources lead nowhere there; those to what an operator uses do not.
find "$root/usr/share/doc/homing" -name '*.md' >"$work/documents"
while read -r document; do
  for link in $(grep -oE '\]\([^)#:]+\)' "$document" | tr -d '()]'); do
    case $link in balancer/*|tlsparse/*|cluster/*|cmd/*|bench/*) continue;; esac
    [ -e "$(dirname "$document")/$link" ] || fail "${document#"$root"} links to $link, which the package does not hold"
  done
done <"$work/documents"
[ -s "$work/documents" ] || fail "the package holds no document"
chroot "$root" homing config check /etc/homing/homing.yaml || fail "the example does not pass its own check"
# The fresh root has neither systemd's own units nor man: what is asked is each line of the unit, and its commands.
command -v systemd-analyze >/dev/null || fail "systemd-analyze is missing: apt-get install systemd"
systemd-analyze verify --root="$root" homing.service homing-agent.service >"$work/log" 2>&1 || true
! grep -E 'homing(-agent)?\.service(:[0-9]|: Command /)' "$work/log" || fail "systemd does not like the units"

# What systemd would run, as the user that it would take, with the capability, the descriptors and the directories of the unit.
unit=$root/usr/lib/systemd/system/homing.service
start=$(sed -n 's/^ExecStart=//p' "$unit") files=$(sed -n 's/^LimitNOFILE=//p' "$unit")
uid=$(chroot "$root" id -u homing) gid=$(chroot "$root" id -g homing)
install -d -o "$uid" -g "$gid" -m "$(sed -n 's/^StateDirectoryMode=//p' "$unit")" "$root/var/lib/homing"
install -d -o "$uid" -g "$gid" -m "$(sed -n 's/^RuntimeDirectoryMode=//p' "$unit")" "$root/run/homing"
running() {
  echo "umask $(sed -n 's/^UMask=//p' "$unit")"
  echo "ulimit -n \$(( \$(ulimit -H -n) < $files ? \$(ulimit -H -n) : $files ))"
  echo "exec chroot '$root' setpriv --reuid $uid --regid $gid --clear-groups --no-new-privs --bounding-set -all,+net_bind_service --inh-caps -all,+net_bind_service --ambient-caps -all,+net_bind_service -- $start"
}
running >"$work/running"
unshare --net -- bash -c 'ip link set lo up && . "$0"' "$work/running" >"$work/service" 2>&1 &
pid=$!
# until COUNT COMMAND...: as often as that, a tenth of a second apart.
until_() { local i; for i in $(seq "$1"); do "${@:2}" >/dev/null 2>&1 && return; kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done; cat "$work/service" >&2; fail "the service did not come to this: ${*:2}"; }
until_ 300 grep -q 'ready' "$work/service"
chroot "$root" homing status >"$work/status" || fail "homing status does not answer"
for pool in www api mail; do grep -q "^pool $pool," "$work/status" || { cat "$work/status" >&2; fail "homing status knows no pool $pool"; }; done
chroot "$root" homing reload >"$work/log" 2>&1 || { cat "$work/log" >&2; fail "homing reload failed"; }
kill -HUP "$pid" # the way without an admin server
until_ 100 sh -c "[ \$(grep -c 'reloaded' '$work/service') -ge 2 ]"
kill -TERM "$pid"
wait "$pid" || { cat "$work/service" >&2; fail "the service ended with $?"; }
pid=
grep -E 'ready|reloaded' "$work/service"
cat "$work/status"

# A package that is installed again leaves an edited configuration and what was learned.
echo '# edited' >>"$root/etc/homing/homing.yaml"
find "$root/var/lib/homing" -type f | grep -q . || fail "the service left no state"
install_
tail -n 1 "$root/etc/homing/homing.yaml" | grep -q edited || fail "installing again lost the configuration"

# left FILE: what is there beyond the inventory that FILE holds. Tools keep the users' files of before in others, with a
# dash; directories that were there may have a new time, not another mode or owner.
left() { inventory | comm -13 "$1" - | grep -v -E '^\./(etc/(passwd|group|shadow|gshadow|subuid|subgid)-|etc/\.pwd\.lock) ' || true; }
dpkg_ -r homing
there=$(left "$work/before" | grep -v -E '^\./(etc/homing|var/lib/homing|run/homing)[ /]' || true)
[ -z "$there" ] || fail "removing leaves behind: $there"
tail -n 1 "$root/etc/homing/homing.yaml" | grep -q edited || fail "removing took the configuration"
find "$root/var/lib/homing" -type f | grep -q . || fail "removing took the state"
dpkg_ --purge homing
there=$(left "$work/before")
[ -z "$there" ] || fail "purging leaves behind: $there"
users | diff "$work/users" - || fail "purging leaves the user"
echo "installed, ran, answered, reloaded, ended; removed: only /etc/homing, /var/lib/homing and /run/homing are left; purged: nothing is"

# The same package, and a newer one that differs in its version alone, on a machine with systemd.
machine=$work/machine
bootstrap "$machine" systemd-sysv,dbus,procps,nginx-light,openssl,curl,jq,prometheus
for unit in nginx prometheus; do ln -sf /dev/null "$machine/etc/systemd/system/$unit.service"; done # the day has its own
cp "$work/homing.deb" "$machine/homing.deb"
dpkg-deb -R "$work/homing.deb" "$work/newer"
CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version-newer" -o "$work/newer/usr/bin/homing" ./cmd/homing
sed -i 's/^Version: .*/&+newer/' "$work/newer/DEBIAN/control"
dpkg-deb -b "$work/newer" "$machine/newer.deb" >"$work/log"
cp cmd/homing/packaging/{day,boot}_test.sh "$machine/"
cat >"$machine/etc/systemd/system/boot-test.service" <<'EOF'
[Unit]
SuccessAction=poweroff-force
FailureAction=poweroff-force
[Service]
Type=oneshot
TimeoutStartSec=infinity
StandardOutput=append:/boot_test.log
StandardError=append:/boot_test.log
ExecStart=/bin/bash /day_test.sh /homing.deb /newer.deb
ExecStart=/bin/bash /boot_test.sh /homing.deb /newer.deb
ExecStopPost=/bin/sh -c 'echo $EXIT_STATUS >/boot_test.code'
EOF
mkdir -p "$machine/etc/systemd/system/multi-user.target.wants"
ln -s ../boot-test.service "$machine/etc/systemd/system/multi-user.target.wants/"
# Without systemd on this machine nobody can give the container a unit of its own.
keep=; [ -d /run/systemd/system ] || keep=--keep-unit
SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 timeout 900 systemd-nspawn -D "$machine" --boot --register=no $keep --private-network --machine="homing-$$" </dev/null >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; fail "systemd does not boot"; }
[ "$(cat "$machine/boot_test.code" 2>/dev/null)" = 0 ] || { cat "$machine/boot_test.log" >&2; fail "systemd and the service do not agree"; }
sed -n 's/^day_test: /a day: /p' "$machine/boot_test.log"
echo "booted: started, stopped, restarted, reloaded, upgraded, replaced by a newer package, removed, each with open conns that went on until they ended"

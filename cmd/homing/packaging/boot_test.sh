#!/bin/bash
# boot_test.sh PACKAGE NEWER: runs inside a machine that systemd has booted, as dist_test.sh makes one. The package is
# installed, started, stopped, restarted, upgraded, reloaded and replaced by a newer one, each with a conn that stays open:
# it goes on until it ends by itself, or until the time that the configuration gives it is over, and systemd takes all of
# that for what it is. The backend is an echo, so that a conn can be asked whether it is alive.
set -u
trap "" PIPE # a conn that is dead is told by its answer
package=$1 newer=$2
exec </dev/null
failures=0
say() { echo "boot_test: $*"; }
fail() { failures=$((failures + 1)); say "FAILED: $*"; journalctl -u homing --no-pager -o cat --since "$since" | tail -n 40 | sed 's/^/    /'; }
until_() { local i; for ((i = 0; i < $1; i++)); do "${@:2}" >/dev/null 2>&1 && return 0; sleep 0.1; done; return 1; }

# dial NAME: a conn, in fd_NAME. alive NAME: it answers. hang NAME: it ends.
declare -A fd
dial() { local n; exec {n}<>/dev/tcp/127.0.0.1/443 && fd[$1]=$n && alive "$1" 10; }
alive() { local answer; echo "hello $1" 2>/dev/null >&"${fd[$1]}" && IFS= read -r -t "${2:-10}" -u "${fd[$1]}" answer && [ "$answer" = "hello $1" ]; }
hang() { local n=${fd[$1]}; exec {n}>&-; unset "fd[$1]"; }

property() { systemctl show -P "$1" homing; }
since=now
# begin WHAT: a step; what the journal says from here on is its.
begin() { say "$*"; sleep 1; since=$(date '+%F %T'); }
said() { journalctl -u homing --no-pager -o cat --since "$since" | grep -E "$1"; }
# in_order WHAT: what has ended was ended by nobody's force, and nobody takes it for a failure.
in_order() {
  [ "$(property ActiveState)/$(property Result)" = "$1/success" ] || fail "the unit is $(property ActiveState), $(property Result), want $1, success"
  ! said 'Killing process|Failed with result|status=9/KILL|level=ERROR|timed out' || fail "not in order"
}
configure() { # key: value of timeouts
  cat >/etc/homing/homing.yaml <<EOF
listeners: [{address: ":443", tls: off, default: echo}]
pools: [{name: echo, backends: ["127.0.0.1:7"]}]
admin: {address: "unix:/run/homing/admin.sock"}
state_dir: /var/lib/homing
loops: 3
timeouts: {$1}
EOF
  chgrp homing /etc/homing/homing.yaml
}
start() { systemctl reset-failed homing 2>/dev/null; systemctl start homing || fail "it does not start"; }
# aside COMMAND...: in the background, without our conns.
aside() { (for n in "${fd[@]}"; do exec {n}>&-; done; exec "$@" >/dev/null 2>&1) & stopping=$!; }
stop_aside() { aside systemctl "${1:-stop}" homing; until_ 100 said 'msg=drain ' || fail "it does not drain"; }
# drains WHAT NAME...: it is being stopped: the conns go on, and when they end so does it.
drains() {
  local what=$1 name; shift
  sleep 1.5
  for name; do alive "$name" || fail "$what: conn $name is dead"; done
  kill -0 $stopping 2>/dev/null || fail "$what: it has ended, with conns open"
  for name; do hang "$name"; done
  until_ 150 bash -c "! kill -0 $stopping" || fail "$what: it does not end"
  wait $stopping || fail "$what: systemctl fails"
}

cat >/etc/systemd/system/echo.socket <<'EOF'
[Socket]
ListenStream=127.0.0.1:7
Accept=yes
MaxConnections=1000
TriggerLimitIntervalSec=0
EOF
cat >/etc/systemd/system/echo@.service <<'EOF'
[Unit]
CollectMode=inactive-or-failed
[Service]
ExecStart=/bin/cat
StandardInput=socket
StandardOutput=socket
StandardError=null
EOF
systemctl daemon-reload && systemctl start echo.socket || fail "no backend"
mkdir -p /etc/systemd/system/homing.service.d
printf '[Service]\nWatchdogSec=6\n' >/etc/systemd/system/homing.service.d/test.conf # what it is told is seen sooner

begin "install and start"
dpkg -i "$package" >/dev/null 2>&1 || fail "dpkg -i"
[ "$(property ActiveState)" = inactive ] || fail "a fresh package is $(property ActiveState)"
configure 'drain: 30s'
start
until_ 100 homing status || fail "homing status does not answer"

begin "stop, while a conn is open"
dial a || fail "no conn"
stop_aside
drains stop a
in_order inactive

begin "stop, with a conn that stays longer than the drain timeout"
configure 'drain: 7s'
start
dial a || fail "no conn"
systemctl stop homing || fail "systemctl stop fails"
alive a 2 && fail "the conn outlives its process"
hang a
in_order inactive
until_ 100 said 'level=WARN msg="drained, conns that were still open are cut.*cut=1' || fail "no line says what was cut"

begin "stop, with a drain timeout above TimeoutStopSec"
printf '[Service]\nWatchdogSec=6\nTimeoutStopSec=2\n' >/etc/systemd/system/homing.service.d/test.conf
systemctl daemon-reload
configure 'drain: 30s'
start
dial a || fail "no conn"
stop_aside
sleep 4
drains "stop beyond TimeoutStopSec" a
in_order inactive

begin "stop, with a drain delay"
configure 'drain: 30s, drain_delay: 4s'
start
dial a || fail "no conn"
stop_aside
homing status | grep -q 'not ready: draining' || fail "it says that it is ready"
dial b || fail "no conn during the delay"
until_ 100 said 'no new conns from now on' || fail "the delay does not end"
until_ 50 bash -c '! : <>/dev/tcp/127.0.0.1/443' || fail "it takes conns after the delay"
drains "stop with a delay" a b
in_order inactive

begin "restart, while a conn is open"
configure 'drain: 30s'
start
pid=$(property MainPID)
dial a || fail "no conn"
stop_aside restart
drains restart a
in_order active
[ "$(property MainPID)" != "$pid" ] || fail "it was not restarted"

# upgraded ELDER: another process is the main one, and serves.
upgraded() { until_ 100 bash -c "[ \$(systemctl show -P MainPID homing) != $1 ]" && dial fresh && hang fresh || fail "not upgraded"; }

begin "upgrade, then stop, while conns of both processes are open"
pid=$(property MainPID)
dial a || fail "no conn"
homing upgrade || fail "homing upgrade"
upgraded "$pid"
dial b || fail "no conn"
alive a || fail "upgrade: conn a is dead"
stop_aside
drains "stop after an upgrade" a b
in_order inactive

begin "upgrade, then stop when the older process has ended"
start
pid=$(property MainPID)
homing upgrade || fail "homing upgrade"
upgraded "$pid"
until_ 100 bash -c "! kill -0 $pid" || fail "the older process does not end"
dial a || fail "no conn"
stop_aside
drains "stop after an upgrade that is through" a
in_order inactive

begin "upgrade, then restart"
start
pid=$(property MainPID)
homing upgrade || fail "homing upgrade"
upgraded "$pid"
dial a || fail "no conn"
pid=$(property MainPID)
stop_aside restart
drains "restart after an upgrade" a
in_order active
[ "$(property MainPID)" != "$pid" ] || fail "it was not restarted"

begin "reload, good and bad"
dial a || fail "no conn"
configure 'drain: 31s'
systemctl reload homing || fail "a good file is refused"
until_ 100 said 'msg=reloaded.*timeouts.drain' || fail "the log does not say what has changed"
echo 'nonsense: 1' >>/etc/homing/homing.yaml
systemctl reload homing 2>/dev/null && fail "systemctl reload takes a broken file for good"
until_ 100 said '^homing: .*"nonsense" is not known here' || fail "nobody says why the file is refused"
[ "$(property ActiveState)" = active ] || fail "a refused reload ends the service"
homing upgrade 2>&1 | grep -q '"nonsense" is not known here' || fail "an upgrade that fails does not say why"
[ "$(pgrep -c -x homing)" = 1 ] || fail "an upgrade that failed leaves $(pgrep -c -x homing) processes"
alive a || fail "reload: conn a is dead"
configure 'drain: 30s'
systemctl reload homing || fail "a mended file is refused"

begin "a newer package, then stop"
pid=$(property MainPID)
before=$(homing version)
dpkg -i "$newer" >/dev/null 2>&1 || fail "dpkg -i of the newer package"
upgraded "$pid"
[ "$(homing version)" != "$before" ] && homing status | grep -qF "$(homing version | cut -d' ' -f2)" || fail "the older program runs"
dial b || fail "no conn"
alive a || fail "a newer package: conn a is dead"
stop_aside
drains "stop after a newer package" a b
in_order inactive

begin "whatever ends it, it is started again"
start
for signal in KILL PIPE SEGV; do
  pid=$(property MainPID)
  kill -$signal "$pid"
  [ $signal = PIPE ] && { dial a || fail "SIGPIPE ends it"; hang a; continue; }
  until_ 100 bash -c "p=\$(systemctl show -P MainPID homing); [ \$p != $pid ] && [ \$p != 0 ]" && until_ 100 homing status || fail "not started again after SIG$signal"
done
pid=$(property MainPID)
homing upgrade || fail "homing upgrade"
upgraded "$pid"
until_ 100 bash -c "! kill -0 $pid" || fail "the older process does not end"
pid=$(property MainPID)
kill -KILL "$pid"
until_ 100 bash -c "p=\$(systemctl show -P MainPID homing); [ \$p != $pid ] && [ \$p != 0 ]" && until_ 100 homing status || fail "not started again after an upgrade"

begin "journald is restarted, and killed"
dial a || fail "no conn"
pid=$(property MainPID)
systemctl restart systemd-journald
homing reload >/dev/null || fail "reload after a restart of journald"
systemctl kill --kill-whom=main -s KILL systemd-journald
sleep 1
homing reload >/dev/null || fail "reload after journald was killed"
alive a || fail "journald: conn a is dead"
[ "$(property MainPID)" = "$pid" ] || fail "journald took the service with it"
until_ 100 said 'msg=reloaded' || fail "the log does not reach the new journald"

begin "remove"
aside dpkg -r homing
until_ 100 said 'msg=drain ' || fail "it does not drain"
drains remove a
[ "$(property ActiveState)" = inactive ] || fail "the removed service is $(property ActiveState)"

say "$failures failures"
[ "$failures" = 0 ]

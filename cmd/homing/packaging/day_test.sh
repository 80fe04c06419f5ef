#!/bin/bash
# day_test.sh PACKAGE NEWER: an operator's day, inside a machine that systemd has booted, as dist_test.sh makes one. The
# package in front of three nginx: each step compares what the log, homing status, the admin API, the metrics and the alerts
# of a real Prometheus say with what is true: what clients got and what the nginx have in their access logs.
set -u
package=$1 newer=$2
exec </dev/null
failures=0
day=$(date '+%F %T')
cd "$(mktemp -d)" || exit 1
say() { echo "day_test: $*"; }
fail() { failures=$((failures + 1)); say "FAILED: $*"; said . | tail -n 6 | cut -c 1-250 | sed 's/^/    /'; }
until_() { local i; for ((i = 0; i < $1; i++)); do "${@:2}" >/dev/null 2>&1 && return 0; sleep 0.1; done; return 1; }

# begin WHAT: a step; what the journal, clients and the nginx say from here on is its.
begin() {
  say "$*"
  since=$(journalctl -u homing --no-pager -n 0 --show-cursor | sed -n 's/^-- cursor: //p')
  began=$(date +%s.%N)
  from_here
}
declare -A logged
from_here() { local n; rm -f got.*; for n in a b c; do logged[$n]=$(lines /var/log/nginx/$n.log); done; }
lines() { cat "$1" 2>/dev/null | wc -l; } # 0 of a file that is not there
said() { journalctl -u homing --no-pager -o cat ${since:+--after-cursor="$since"} | grep -E -- "$1"; }
# says COUNT WHAT: so many lines of this step, which may be on their way yet.
says() { until_ 100 eval "[ \$(said '$2' | wc -l) = $1 ]" || fail "$(said "$2" | wc -l) lines say \"$2\", want $1"; }
# trouble LINE...: this step has no lines above INFO but these.
trouble() {
  local none='^$' lines line
  for line; do none+="|$line"; done
  lines=$(said 'level=(WARN|ERROR)|^homing: |Failed|Killing' | grep -Ev "$none") && fail "nobody should say: $lines"
}
admin() { curl -s --unix-socket /run/homing/admin.sock "http://homing$1"; }
status() { admin /v1/status | jq -r "$1"; }
# metric NAME: the sum over what matches, 0 without one.
metric() { admin /metrics | awk -v want="^$1" '$0 ~ want {sum += $NF} END {print sum + 0}'; }
# equal WHAT GOT WANT.
equal() { [ "$2" = "$3" ] || fail "$1: $2, want $3"; }
ready() { # CODE WORDS: what /readyz, the API, the status' first line and the metric say.
  until_ 100 eval "[ \$(curl -s -o readyz -w '%{http_code}' --unix-socket /run/homing/admin.sock http://homing/readyz) = $1 ]"
  grep -qE "$2" readyz || fail "/readyz: $(cat readyz), want $1 and \"$2\""
  homing status >out || fail "homing status: exit $?"
  head -n 1 out | grep -qE "$2" || fail "status heads with $(head -n 1 out), want \"$2\""
  equal "ready of the API" "$(status .ready)" "$([ "$1" = 200 ] && echo true || echo false)"
  equal homing_ready "$(metric homing_ready)" "$([ "$1" = 200 ] && echo 1 || echo 0)"
}
shows() { homing status >out; grep -qE -- "$1" out || { fail "homing status does not say \"$1\""; sed 's/^/    /' out; }; }
property() { systemctl show -P "$1" homing; }
unit() { [ "$(property ActiveState)/$(property Result)" = "$1/success" ] || fail "the unit is $(property ActiveState), $(property Result), want $1, success"; }

# fresh COUNT [PATH]: so many clients one after the other, each with a full handshake. got.ok and got.lost count them.
fresh() { local i; for ((i = 0; i < $1; i++)); do client "${2:-/}"; done; }
client() { if curl -sk --max-time 20 -o answer.$BASHPID "https://127.0.0.1$1"; then cat answer.$BASHPID >>got.ok; else echo $? >>got.lost; fi; rm -f answer.$BASHPID; }
# crowd COUNT PATH: so many at once.
crowd() { local i pids=; for ((i = 0; i < $1; i++)); do client "$2" & pids+=" $!"; done; wait $pids; }
# session VERSION FILE: a full handshake, whose session is kept. again VERSION FILE: it is offered. Who answers, and how.
ask() { printf 'GET / HTTP/1.0\r\n\r\n' | timeout 20 openssl s_client -connect 127.0.0.1:443 -quiet -ign_eof "$@" 2>/dev/null | grep -E '^[abc] ' | tail -n 1; }
session() { ask "-$1" -sess_out "$2" | tee -a got.ok; }
again() { ask "-$1" -sess_in "$2" | tee -a got.ok; }
# counts: what clients got is what the nginx have logged, of each, since the step began.
counts() {
  local n
  for n in a b c; do
    until_ 30 eval "[ \$(( \$(lines /var/log/nginx/$n.log) - ${logged[$n]} )) = \$(grep -c '^$n ' got.ok) ]" ||
      fail "nginx $n has logged $(($(lines /var/log/nginx/$n.log) - logged[$n])), clients got $(grep -c "^$n " got.ok) from it"
  done
}
of() { grep -c "^$1 " got.ok; } # answers of one nginx in this step

# dial: a conn in its TLS handshake's end that stays open, through homing. alive: it answers. hang: it ends.
dial() { rm -f pipe; mkfifo pipe; openssl s_client -connect 127.0.0.1:443 -quiet <pipe >held 2>/dev/null & held=$!; exec {pipe}>pipe; alive || fail "no conn"; }
alive() { local before; before=$(grep -c '^[abc] ' held); printf 'GET / HTTP/1.1\r\nHost: x\r\n\r\n' >&$pipe 2>/dev/null; until_ 50 eval "[ \$(grep -c '^[abc] ' held) -gt $before ]"; }
hang() { exec {pipe}>&-; kill $held 2>/dev/null; wait $held 2>/dev/null; }

# Alerts of a real Prometheus, by the packaged rules at twenty times their speed.
firing() { curl -s http://127.0.0.1:9091/api/v1/alerts | jq -r '[.data.alerts[] | select(.state == "firing") | .labels.alertname + (if .labels.backend then "/" + .labels.backend else "" end)] | unique | join(" ")'; }
alerts() { local want; want=$(echo $*); until_ 1000 eval "[ \"\$(firing)\" = '$want' ]" || fail "alerts are \"$(firing)\", want \"$want\""; }
# quiet: none has fired in this step.
quiet() {
  local took fired
  took=$(echo "$began $(date +%s.%N)" | awk '{print int($2 - $1) + 1}')
  fired=$(curl -s http://127.0.0.1:9091/api/v1/query --data-urlencode "query=count by (alertname) (count_over_time(ALERTS{alertstate=\"firing\"}[${took}s]))" | jq -r '.data.result[].metric.alertname')
  [ -z "$fired" ] || fail "alerts have fired: $fired"
}

configure() { # MORE OF EACH BACKEND, MORE OF THE FILE
  {
    echo 'listeners: [{address: ":443", tls: require, default: www}]'
    echo 'pools:'
    echo '  - name: www'
    echo '    backends:'
    for port in 8441 8442 8443; do echo "      - {address: \"127.0.0.1:$port\"${1:+, $1}}"; done
    echo 'checks: {interval: 1s, kind: tls}'
    echo 'admin: {address: "unix:/run/homing/admin.sock"}'
    echo 'state_dir: /var/lib/homing'
    echo "${2:-timeouts: {drain: 20s\}}"
  } >/etc/homing/homing.yaml
  chgrp homing /etc/homing/homing.yaml
}

# Three nginx, each with its own keys.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=www.example.org -keyout /etc/nginx/www.key -out /etc/nginx/www.pem 2>/dev/null || fail openssl
for n in a:8441 b:8442 c:8443; do
  cat >/etc/nginx/${n%:*}.conf <<END
pid /run/nginx-${n%:*}.pid;
worker_processes 1;
error_log /var/log/nginx/error-${n%:*}.log;
events { worker_connections 512; }
http {
  log_format day '\$ssl_session_reused \$status';
  access_log /var/log/nginx/${n%:*}.log day;
  server {
    listen 127.0.0.1:${n#*:} ssl;
    ssl_certificate /etc/nginx/www.pem;
    ssl_certificate_key /etc/nginx/www.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_cache shared:tls:4m;
    location / { return 200 "${n%:*} \$ssl_session_reused\n"; }
    location = /slow { limit_rate 100; root /srv/${n%:*}; }
  }
}
END
  mkdir -p /srv/${n%:*}
  printf '%s .\n%0297d\n' "${n%:*}" 0 >/srv/${n%:*}/slow # three seconds
done
cat >/etc/systemd/system/web@.service <<'END'
[Service]
ExecStart=/usr/sbin/nginx -c /etc/nginx/%i.conf -g "daemon off;"
ExecReload=/bin/kill -HUP $MAINPID
END
# Prometheus asks by TCP, the admin server listens on a socket.
cat >/etc/systemd/system/scrape.socket <<'END'
[Socket]
ListenStream=127.0.0.1:9099
END
cat >/etc/systemd/system/scrape.service <<'END'
[Unit]
StartLimitIntervalSec=0
[Service]
ExecStart=/lib/systemd/systemd-socket-proxyd /run/homing/admin.sock
END
cat >/etc/prometheus/day.yml <<'END'
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [/etc/prometheus/day-rules.yml]
scrape_configs:
  - job_name: homing
    static_configs: [{targets: ["127.0.0.1:9099"]}]
END
cat >/etc/systemd/system/day-prometheus.service <<'END'
[Service]
ExecStart=/usr/bin/prometheus --config.file=/etc/prometheus/day.yml --storage.tsdb.path=/var/lib/day-prometheus --web.listen-address=127.0.0.1:9091
END
systemctl daemon-reload
systemctl start web@a web@b web@c scrape.socket || fail "no backends"

begin "install, configure, start"
dpkg -i "$package" >/dev/null 2>&1 || fail "dpkg -i: $?"
unit inactive
homing status >out 2>&1 && fail "status of what does not run: exit 0"
grep -q 'nobody listens' out || fail "status of what does not run says: $(cat out)"
configure
homing config check /etc/homing/homing.yaml >out || fail "config check: $? $(cat out)"
systemctl enable --now homing 2>/dev/null || fail "enable --now: $?"
unit active
ready 200 'ready$'
perl -pe 's{(for: |\[)(\d+)([smh])}{$1 . int(($2 * {s => 1, m => 60, h => 3600}->{$3} + 19) / 20) . "s"}ge' /usr/share/doc/homing/alerts.yml >/etc/prometheus/day-rules.yml
systemctl start day-prometheus || fail "no prometheus"
until_ 300 eval 'curl -s http://127.0.0.1:9091/api/v1/query?query=homing_ready | grep -q "\"1\""' || fail "prometheus sees nothing"
fresh 30
session tls1_2 s12 >/dev/null
session tls1_3 s13 >/dev/null
for v in 2 3; do for i in 1 2 3; do again tls1_$v s1$v >>resumed; done; done
equal "resumed by the nginx" "$(grep -c ' r$' resumed)" 6
counts
equal "conns accepted" "$(status .totals.conns_accepted)" 38
for n in a:8441 b:8442 c:8443; do equal "conns of ${n%:*}" "$(metric "homing_backend_conns_total.*${n#*:}")" "$(of "${n%:*}")"; done
equal "conns in the metrics" "$(metric 'homing_conns_accepted_total ')" 38
equal "offers accepted" "$(metric 'homing_verdicts_total.*"accepted"')" 6
shows '^pool www, round-robin: 3 of 3 backends live'
shows '^resumed +ticket 100.0% of 3, psk 100.0% of 3'
admin / | grep -q '<title>homing' || fail "no page"
trouble
quiet

begin "reload of a good file"
dial
configure "max_conns: 50"
systemctl reload homing || fail "reload: $?"
says 1 'msg=reloaded.*changes="pool www .*8441.*8442.*8443'
alive || fail "the conn is dead"
hang
equal "max_conns" "$(status '[.pools[0].backends[].max_conns] | unique | join(" ")')" 50
equal "reloads" "$(metric 'homing_reloads_total.*"applied"')/$(metric 'homing_reloads_total')" 1/1
trouble
quiet

begin "reload of a broken file"
dial
echo 'polcy: least-conn' >>/etc/homing/homing.yaml
homing config check /etc/homing/homing.yaml >out 2>&1 && fail "config check takes it"
systemctl reload homing 2>out && fail "reload takes it"
homing reload >out 2>&1 && fail "homing reload takes it"
grep -q '"polcy" is not known here: write policy' out || fail "homing reload says $(cat out)"
unit active
says 1 '^homing: refused: nothing has changed: .*"polcy" is not known here: write policy'
trouble 'reload refused, nothing has changed.*polcy' '^homing: refused' 'Failed|Reload failed'
equal "reloads refused" "$(metric 'homing_reloads_total.*"refused"')" 2
alive || fail "the conn is dead"
hang
from_here
fresh 6
counts
equal "lost" "$(lines got.lost)" 0
ready 200 'ready$'
configure "max_conns: 50"
systemctl reload homing || fail "reload of the mended file: $?"
quiet

begin "upgrade"
dial
pid=$(property MainPID)
homing upgrade || fail "upgrade: $?"
until_ 100 eval "[ \$(property MainPID) != $pid ]" || fail "not upgraded"
equal "conns of the older process" "$(metric homing_elder_conns_open)" 1
fresh 6
alive || fail "the conn is dead"
hang
says 1 'the older process has ended'
equal resumed "$(again tls1_2 s12 | cut -d' ' -f2)$(again tls1_3 s13 | cut -d' ' -f2)" rr
equal lost "$(lines got.lost)" 0
unit active
ready 200 'ready$'
trouble
quiet

begin "a newer package"
dial
pid=$(property MainPID)
dpkg -i "$newer" >/dev/null 2>&1 || fail "dpkg -i: $?"
until_ 100 eval "[ \$(property MainPID) != $pid ]" || fail "not upgraded"
shows "^homing $(homing version | cut -d' ' -f2), "
fresh 6
alive || fail "the conn is dead"
hang
says 1 'the older process has ended'
equal lost "$(lines got.lost)" 0
trouble
quiet

begin "drain a backend"
until_ 50 eval 'session tls1_3 mine | grep "^c"' || fail "no session of c"
from_here
homing drain 127.0.0.1:8443 >out || fail "drain: $? $(cat out)"
fresh 12
equal "fresh at c" "$(of c)" 0
equal "its own client" "$(again tls1_3 mine)" "c r"
counts
shows '127.0.0.1:8443 +drain'
equal draining "$(metric 'homing_backend_draining.*8443')" 1
ready 200 'ready$'
says 1 'drain.*127.0.0.1:8443'
homing undrain 127.0.0.1:8443 >out || fail "undrain: $? $(cat out)"
fresh 12
[ "$(of c)" -ge 3 ] || fail "undrained it got $(of c) of 12"
trouble
quiet

begin "restart"
session tls1_2 s12 >/dev/null
session tls1_3 s13 >/dev/null
systemctl restart homing || fail "restart: $?"
unit active
ready 200 'ready$'
equal resumed "$(again tls1_2 s12 | cut -d' ' -f2)$(again tls1_3 s13 | cut -d' ' -f2)" rr
trouble

begin "stop, while a conn is open, and start"
dial
systemctl stop homing & stopping=$!
says 1 'msg=drain '
ready 503 'draining'
curl -sk --max-time 5 https://127.0.0.1/ >/dev/null; equal "a new client is refused: curl's exit" $? 7
alive || fail "the conn is dead"
hang
wait $stopping || fail "stop: $?"
says 1 'msg=drained'
unit inactive
homing status >out 2>&1; equal "status' exit" $? 1
grep -q 'nobody listens' out || fail "status says $(cat out)"
trouble
alerts HomingDown
systemctl start homing || fail "start: $?"
ready 200 'ready$'
alerts

begin "a backend is killed"
systemctl kill -s KILL web@b
fresh 12
equal lost "$(lines got.lost)" 0
says 1 'level=WARN.*127.0.0.1:8442'
fresh 12
equal "lost, when it is known" "$(lines got.lost)" 0
equal "answers of b" "$(of b)" 0
counts
ready 200 'ready$'
shows '^pool www, round-robin: 2 of 3 backends live'
shows '127.0.0.1:8442 +down'
shows '^ +down for .*connection refused$'
equal "health" "$(status '[.pools[0].backends[] | .health] | join(" ")')" "up down up"
equal homing_backend_up "$(metric 'homing_backend_up.*8442')/$(metric homing_backend_up)" 0/2
alerts HomingBackendDown/127.0.0.1:8442
trouble '127.0.0.1:8442'
systemctl reset-failed web@b
systemctl start web@b
until_ 100 eval '[ "$(metric homing_backend_up)" = 3 ]' || fail "it does not come back"
from_here
fresh 12
counts
[ "$(of b)" -ge 3 ] || fail "it got $(of b) of 12"
alerts

begin "overload"
configure "max_conns: 1" 'queue: {conns: 3, timeout: 1s}'
systemctl reload homing || fail "reload: $?"
full=$(metric homing_pool_queue_full_total) late=$(metric homing_pool_queue_timeouts_total)
for i in 1 2 3 4 5 6; do crowd 12 /slow; done
lost=$(lines got.lost) full=$(($(metric homing_pool_queue_full_total) - full)) late=$(($(metric homing_pool_queue_timeouts_total) - late))
say "of 72 clients $lost were reset, $full because the queue was full, $late after a second in it"
counts
equal "served and reset" "$(($(grep -c '^[abc] ' got.ok) + lost))" 72
equal "what curl says of those" "$(sort -u got.lost)" 35
[ "$full" -gt 0 ] && [ "$late" -gt 0 ] || fail "full $full times, late $late times"
equal "reset by the queue" $((full + late)) "$lost"
until_ 200 eval "[ \"\$(status '[.shortages[] | .cause + \" \" + (.count | tostring)] | sort | join(\", \")')\" = 'queue_full $full, queue_timeout $late' ]" ||
  fail "the API says $(status '.shortages | tostring')"
shows "^short +pool www, queue_full since .*: $full conns were reset: every backend has as many conns as it may"
shows "^short +pool www, queue_timeout since .*: $late conns were reset: .*for all of 1s"
equal homing_shortage "$(metric homing_shortage)" 2
says 1 'level=WARN msg=shortage pool=www cause=queue_full .*remedy="add backends, or raise max-conns'
says 1 'level=WARN msg=shortage pool=www cause=queue_timeout .*remedy="add backends, or raise max-conns'
trouble 'msg=shortage'
ready 200 'ready$'
alerts HomingQueueRefuses HomingShortage
configure
systemctl reload homing || fail "reload: $?"

begin "every backend is killed"
before=$(metric homing_conns_unroutable_total)
systemctl kill -s KILL web@a web@b web@c
until_ 100 eval '! systemctl is-active web@a web@b web@c' || fail "they live"
(while [ ! -e stop ]; do fresh 1; sleep 0.5; done) &
clients=$!
ready 503 'pool www: none of its 3 backends is up; the last was 127.0.0.1:844.: .*connection refused'
shows '^pool www, round-robin: 0 of 3 backends live'
equal homing_backend_up "$(metric homing_backend_up)" 0
says 3 'level=WARN msg="backend down" .*connection refused'
says 1 'level=WARN msg="conns are not welcome" why="pool www: none of its 3 backends is up'
says 1 'level=WARN msg=shortage pool=www cause=no_backend .*remedy="bring the backends back'
trouble 'msg="backend down"' 'msg="conns are not welcome"' 'msg=shortage'
alerts HomingAllBackendsDown HomingBackendDown/127.0.0.1:8441 HomingBackendDown/127.0.0.1:8442 HomingBackendDown/127.0.0.1:8443 HomingNotReady HomingShortage HomingUnroutable
touch stop
wait $clients
lost=$(lines got.lost)
say "$lost clients were reset"
equal "answers without a backend" "$(lines got.ok)" 0
equal "what curl says" "$(sort -u got.lost)" 35
equal unroutable "$(($(metric homing_conns_unroutable_total) - before))" "$lost"
until_ 200 eval "[ \"\$(status '.shortages[] | select(.cause == \"no_backend\") | .count')\" = $lost ]" || fail "the API says $(status '.shortages | tostring'), want no_backend $lost"
shows "^short +pool www, no_backend since .*: $lost conns were reset: none of its 3 backends is up"
systemctl reset-failed 'web@*'
systemctl start web@a web@b web@c
ready 200 'ready$'
says 1 'level=INFO msg="conns are welcome"'
from_here
fresh 6
counts
equal lost "$(lines got.lost)" 0
alerts
until_ 300 eval '[ "$(status ".shortages | length")" = 0 ]' || fail "there still is $(status '.shortages | tostring')"
shows '^lost '
! grep '^short' out || fail "status still says what was short"

begin "evening: stop, remove"
systemctl stop homing || fail "stop: $?"
unit inactive
dpkg --purge homing >/dev/null 2>&1 || fail "dpkg --purge: $?"
trouble

# What an operator would have read at a level above INFO beside shortages, which come again each minute, the two reloads of a broken file included.
since=
equal "lines above INFO" "$(journalctl -u homing --no-pager -o cat --since "$day" | grep -E 'level=(WARN|ERROR)' | grep -v msg=shortage | sed -E 's/^time=[^ ]* //; s/(msg="[^"]*"|msg=[^ ]*).*/\1/' | sort | uniq -c | sed -E 's/^ *//' | tr '\n' ';')" \
  '2 level=ERROR msg="reload refused, nothing has changed";4 level=WARN msg="backend down";1 level=WARN msg="conns are not welcome";'
systemctl stop day-prometheus scrape.socket scrape web@a web@b web@c
say "$failures failures"
[ "$failures" = 0 ]

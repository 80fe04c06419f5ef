#!/bin/sh
# Keeps the addresses of ready nodes, and those alone, behind one name, by dynamic updates (RFC 2136). Run it every few
# seconds where the admin servers can be reached: --admin 192.0.2.11:9090 --admin-token-file /etc/homing/admin.token
# (all but /readyz and /healthz asks for the token).
#
#   dns.sh www.example.org 30 192.0.2.11 192.0.2.12
set -eu
name=$1 ttl=$2
shift 2

ready=
for node in "$@"; do
	if curl --fail --silent --max-time 1 --output /dev/null "http://$node:9090/readyz"; then
		ready="$ready $node"
	fi
done
if [ -z "$ready" ]; then
	echo "no node is ready: $name stays as it is" >&2
	exit 1
fi
{
	echo "update delete $name A"
	for node in $ready; do
		echo "update add $name $ttl A $node"
	done
	echo send
} | nsupdate -k /etc/homing/nsupdate.key

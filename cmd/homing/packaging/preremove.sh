#!/bin/sh
set -e
# deb: "remove" or "upgrade"; rpm: the number of packages left.
case "$1" in
remove | 0)
  if [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now homing.service homing-agent.service || true
  fi
  ;;
esac

#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
# Removed, the configuration, what was learned and the user whose files these are stay; dpkg --purge takes all of it.
if [ "$1" = purge ]; then
  rm -rf /etc/homing /var/lib/homing /run/homing
  if getent passwd homing >/dev/null && command -v userdel >/dev/null; then
    userdel homing
  fi
fi

#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
fi
# /etc/homing and /var/lib/homing stay, as does the user whose files these are; dpkg --purge takes the configuration.

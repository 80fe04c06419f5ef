#!/bin/sh
set -e
if command -v systemd-sysusers >/dev/null; then
  systemd-sysusers homing.conf
elif ! getent passwd homing >/dev/null; then
  useradd --system --home-dir /var/lib/homing --shell /usr/sbin/nologin --user-group homing
fi
# The configuration may name files with keys.
chgrp homing /etc/homing /etc/homing/homing.yaml /etc/homing/agent.env
if [ -d /run/systemd/system ]; then
  systemctl daemon-reload
  # An upgrade of the package changes to the new binary without refusing a connection. A fresh installation starts
  # nothing: its configuration is an example.
  if systemctl is-active --quiet homing.service; then
    systemctl kill --kill-whom=main --signal=USR2 homing.service || true
  fi
fi

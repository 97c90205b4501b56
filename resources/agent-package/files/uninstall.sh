#!/bin/sh
# Removes the agent from this host, as root. Tasks that run go on; data and settings stay.
set -eu
root=${ROOT:-}
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
  systemctl disable --now submarine.service 2>/dev/null || true
  rm -f /etc/systemd/system/submarine.service
  systemctl daemon-reload
fi
rm -rf "$root/usr/lib/submarine"
rm -f "$root/usr/local/bin/submarine"
echo "Removed. This host's part of the cluster is kept in $root/var/lib/submarine, its settings in $root/etc/submarine."
echo "Delete both only when the host has left its cluster (submarine node remove NAME): what is in them is then lost."

#!/bin/sh
# Installs this bundle on the host, as root; running it again upgrades. ROOT=/folder installs below a folder.
set -eu
here=$(dirname "$(readlink -f "$0")")
root=${ROOT:-}
(cd "$here" && sha256sum --check --quiet SHA256SUMS)
lib=$root/usr/lib/submarine
mkdir -p "$lib" "$root/usr/local/bin" "$root/etc/submarine"
# Beside the old one first: what runs keeps its files, and a cut-off copy is never started.
rm -rf "$lib.new" "$lib.old"
mkdir "$lib.new"
cp -R "$here/bin" "$here/lib" "$here/console" "$here/uninstall.sh" "$here/LICENSE" "$here/LICENCES.txt" "$lib.new/"
mv "$lib" "$lib.old"
mv "$lib.new" "$lib"
rm -rf "$lib.old"
ln -sfn /usr/lib/submarine/bin/submarine "$root/usr/local/bin/submarine"
[ -e "$root/etc/submarine/agent.env" ] || install -m 600 "$here/agent.env" "$root/etc/submarine/agent.env"
if [ -z "$root" ] && [ -d /run/systemd/system ]; then
  install -m 644 "$here/submarine.service" /etc/systemd/system/submarine.service
  systemctl daemon-reload
  systemctl try-restart submarine.service
  echo "Installed. Say in /etc/submarine/agent.env how this host begins, then: systemctl enable --now submarine"
else
  echo "Installed. Say in /etc/submarine/agent.env how this host begins, then: /usr/lib/submarine/bin/supervise &"
  echo "An agent that runs already goes on as it is: stop it, and it starts again as the new one."
fi

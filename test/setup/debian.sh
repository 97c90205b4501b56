#!/bin/bash
# Installs what the tests need, on Debian as root. Quick where everything is there. Nothing is started here:
# the tests run Docker Engines and browsers of their own.
set -euo pipefail

packages=(
  docker.io iptables         # private Docker Engines (test/docker/engine.ts)
  iproute2 util-linux procps # hosts in network namespaces (test/docker/lan.ts)
  chromium libnss3-tools     # the console in a real browser, and whom it trusts
  python3 python3-venv       # the demo experiment, the Python SDK, and the tool that asks from the OpenAPI document
  git ca-certificates
  etcd-server etcd-client    # the peer of bench/raft
  docker-registry            # a private registry with a password (test/docker/images.test.ts)
  prometheus                 # scrapes agents, checks rules and dashboards (test/peers/monitoring.test.ts)
  strace libfaketime         # failing disks and jumping clocks (test/chaos)
  krb5-kdc krb5-admin-server krb5-user # a Kerberos realm (test/setup/realm.ts), and its tickets for tasks
  slapd ldap-utils           # a directory that people sign in by (agent/services/identity)
)

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

echo "Installing ${missing[*]} …"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Debian's own directory server and Kerberos realm would listen on the machine's ports: they are neither set up nor
# started, and of the realm nothing is asked.
debconf-set-selections <<'ANSWERS'
slapd slapd/no_configuration boolean true
krb5-config krb5-config/default_realm string LOCALHOST.INVALID
krb5-config krb5-config/add_servers boolean false
ANSWERS
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\ncase $1 in slapd|krb5-*) exit 101 ;; esac\nexit 0\n' >$policy
  chmod +x $policy
  trap 'rm -f $policy' EXIT
fi
apt-get install -qq --yes --no-install-recommends "${missing[@]}" >/dev/null
echo "Installed in $SECONDS s."

#!/usr/bin/env bash
# Has systemd read the units, and judge how well the service is locked in: at most 2.0 of 10.
# Needs no systemd that runs.
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v systemd-analyze >/dev/null; then
    echo "unit-check: systemd-analyze is needed (Debian: apt-get install systemd)" >&2
    exit 1
fi
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# The program need not be installed to read the units.
for unit in tidegate.service tidegate.socket; do
    sed 's#/usr/bin/tidegate#/bin/true#' "$unit" >"$scratch/$unit"
done
systemd-analyze verify --man=no "$scratch/tidegate.service" "$scratch/tidegate.socket"

# In an empty root, so that nothing of this machine changes.
if command -v systemd-sysusers >/dev/null; then
    mkdir -p "$scratch/root/etc"
    systemd-sysusers --root="$scratch/root" "$PWD/tidegate.sysusers" 2>/dev/null
    grep -q '^tidegate:' "$scratch/root/etc/passwd"
fi

systemd-analyze security --offline=true --threshold=20 --no-pager tidegate.service |
    grep -E '✗|exposure'

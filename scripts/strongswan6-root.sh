#!/bin/sh
# Makes the root of a Debian system with strongSwan 6, for test/netns/strongswan6.test.ts:
#
#   sudo scripts/strongswan6-root.sh ROOT [SUITE]
#   sudo CULVERT_STRONGSWAN6_ROOT=ROOT npx vitest run --project kernel test/netns/strongswan6.test.ts
#
# SUITE is forky by default: Debian 13's strongSwan 6.0.1 is built without ML-KEM, and forky's has it from OpenSSL.
# Needs debootstrap, root, and about 400 MB.
set -eu
root=${1:?usage: scripts/strongswan6-root.sh ROOT [SUITE]}
suite=${2:-forky}
packages=strongswan-swanctl,charon-systemd,libstrongswan-extra-plugins,libcharon-extra-plugins,iproute2
# debootstrap knows a suite by a script of its own; all of Debian's are the same.
debootstrap --variant=minbase --include="$packages" "$suite" "$root" http://deb.debian.org/debian \
  /usr/share/debootstrap/scripts/sid

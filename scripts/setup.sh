#!/bin/sh
# Makes a fresh Debian 12 machine ready: system packages (only what is missing), npm packages, build.
# Safe to run again: each step is skipped when there is nothing to do.
set -eu
cd "$(dirname "$0")/.."
say() { printf 'setup: %s\n' "$*" >&2; }

[ "$(id -u)" = 0 ] || { say 'root is needed: the labs and tests make network namespaces and load BPF programs. Run with sudo.'; exit 1; }

packages='clang llvm libbpf-dev bpftool linux-libc-dev libpcap-dev build-essential python3
  iproute2 procps util-linux curl wget iperf3 nftables ethtool tcpdump tshark busybox-static hey
  dropbear-bin openssh-client libzstd1 libxxhash0'
missing=''
for package in $packages; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
  say "installing$missing"
  apt-get -qq update
  # shellcheck disable=SC2086 — a list of words is meant
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null
fi

if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  say 'installing npm packages'
  npm ci --no-audit --no-fund --loglevel=error >&2
fi

say 'building'
sh scripts/build.sh

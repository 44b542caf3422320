#!/bin/sh
# Boots Debian 12's stock 6.1 kernel in an emulator, with everything of this machine in it, and runs the BPF load test,
# `doctor` and labs there. Nothing outside .cache/kernel and a scratch folder is written.
#
#   npm run test:kernel                            all of it, 30 to 60 minutes
#   npm run test:kernel -- --short                 the load test only, less than a minute
#   npm run test:kernel -- --labs restart,mtu      the load test and these labs (tpot-node lab list)
#   npm run test:kernel -- --help
#
#   this machine ── 9p, read-only ──▶ guest: 6.1, overlay (tmpfs) on top ── test/kernel/guest.sh ──▶ scratch/status
#
# Exit status: that of the guest; 77 when the kernel or the emulator cannot be had here; 124 when time is over.
set -eu
cd "$(dirname "$0")/.."
checkout=$(pwd)
say() { printf 'test-kernel: %s\n' "$*" >&2; }
unavailable() { say "$*"; exit 77; }

usage() { sed -n 's/^#   npm run/npm run/p' scripts/test-kernel.sh; }
misused() { say "$*; usage:"; usage >&2; exit 2; }

mode=long limit=5400 labs=hello,ecmp,stripped,blocked,restart,mtu,attack
case "${1-}" in
  '') ;;
  --short) mode=short limit=240 ;;
  --labs) mode=labs labs=${2-} ;;
  --help | -h) usage; exit 0 ;;
  *) misused "unknown argument $1" ;;
esac
case $labs in '' | *[!a-z,]*) misused '--labs takes names of labs with commas between them, as in: --labs restart,mtu' ;; esac
[ "$(id -u)" = 0 ] || { say 'root is needed: the guest reads the whole file system. Run with sudo.'; exit 77; }
[ "$(dpkg --print-architecture)" = amd64 ] || unavailable 'only on amd64'
case $checkout in *[[:space:]]*) unavailable 'the path of the checkout has a space in it' ;; esac
[ -e dist/cli/main.js ] && [ -e dist/bpf/tpot.bpf.o ] || sh scripts/setup.sh

# --- the emulator and the kernel -------------------------------------------------------------------------------------
missing=''
for package in qemu-system-x86 busybox-static; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
cache=$checkout/.cache/kernel
mkdir -p "$cache"
set -- "$cache"/linux-image-6.1.*/boot/vmlinuz-*
if [ -n "$missing" ] || [ ! -e "$1" ]; then
  say 'looking at the package lists'
  apt-get -qq update || say 'apt-get update failed; trying with the lists there are'
fi
if [ -n "$missing" ]; then
  say "installing$missing"
  # shellcheck disable=SC2086 — a list of words is meant
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing >/dev/null ||
    unavailable "cannot install$missing"
fi
if [ ! -e "$1" ]; then
  image=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: \(linux-image-6\.1\.[^ ]*\)$/\1/p' | head -1)
  [ -n "$image" ] || unavailable 'the package lists have no linux-image-amd64 of 6.1 (Debian 12)'
  say "downloading $image"
  (cd "$cache" && apt-get -qq -o APT::Sandbox::User=root download "$image") || unavailable "cannot download $image"
  rm -rf "$cache/unpacking"
  dpkg -x "$cache/$image"_*.deb "$cache/unpacking"
  mv "$cache/unpacking" "$cache/$image"
  rm -f "$cache/$image"_*.deb
  set -- "$cache"/linux-image-6.1.*/boot/vmlinuz-*
fi
kernel=$1
release=${kernel##*/vmlinuz-}

# --- the first root file system: busybox, the modules, an init ---------------------------------------------------------
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM HUP
mkdir -p "$scratch/ir/bin" "$scratch/ir/mod" "$scratch/out"
for folder in dev mnt new proc sys ro rw out; do mkdir "$scratch/ir/$folder"; done
cp /bin/busybox "$scratch/ir/bin/"
cp test/kernel/init "$scratch/ir/init"
chmod +x "$scratch/ir/init"
for module in $(sed -n 's/^modules="\(.*\)"$/\1/p; s/^modules="\(.*\)$/\1/p; s/^  \([a-z0-9_ ]*\)"\{0,1\}$/\1/p' test/kernel/init); do
  find "$cache/linux-image-$release/lib/modules" -name "$module.ko" -exec cp {} "$scratch/ir/mod/" \;
done
(cd "$scratch/ir" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$scratch/initrd.gz"

# --- run ---------------------------------------------------------------------------------------------------------------
say "booting $release ($mode, at most $limit s)"
started=$(date +%s)
# timeout in the foreground, so that Ctrl-C reaches both; the emulator ends with it.
timeout --foreground "$limit" qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -m 3072 -cpu max -nographic -no-reboot \
  -kernel "$kernel" -initrd "$scratch/initrd.gz" -nic none \
  -append "console=ttyS0 quiet panic=-1 tpot.mode=$mode tpot.labs=$labs tpot.dir=$checkout tpot.node=$(dirname "$(command -v node)")" \
  -virtfs "local,path=/,mount_tag=root,security_model=none,readonly=on,multidevs=remap" \
  -virtfs "local,path=$scratch/out,mount_tag=out,security_model=none" </dev/null 2>&1 |
  tee "$scratch/console" | sed -un 's/\r$//; s/^.*guest: /guest: /p' >&2 || true
took=$(($(date +%s) - started))

if [ ! -e "$scratch/out/status" ]; then
  say "the guest did not finish; the end of its console:"
  tail -n 40 "$scratch/console" >&2
  [ "$took" -ge "$limit" ] && exit 124
  exit 1
fi
status=$(cat "$scratch/out/status")
[ "$status" = 0 ] || tail -n 60 "$scratch/console" >&2
say "guest ended with status $status after $took s"
exit "$status"

#!/bin/sh
# Compiles bpf/*.bpf.c into dist/bpf/ with Debian's clang; does nothing when the objects are newer.
set -eu
cd "$(dirname "$0")/.."
mkdir -p dist/bpf
multiarch="/usr/include/$(uname -m)-linux-gnu"
for source in bpf/*.bpf.c; do
  object="dist/bpf/$(basename "$source" .c).o"
  stale=no
  [ -e "$object" ] || stale=yes
  for input in "$source" bpf/*.h; do
    [ "$input" -nt "$object" ] && stale=yes
  done
  [ "$stale" = no ] && continue
  clang -O2 -g -Wall -Wextra -Werror -target bpf -mcpu=v3 -I"$multiarch" -c "$source" -o "$object.tmp"
  llvm-strip -g "$object.tmp" # DWARF only: libbpf needs BTF and the symbols of static functions
  mv "$object.tmp" "$object"
done

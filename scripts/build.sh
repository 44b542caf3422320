#!/bin/sh
# Compiles the BPF object and the TypeScript into dist/.
set -eu
cd "$(dirname "$0")/.."
sh scripts/build-bpf.sh
node_modules/.bin/tsc -p tsconfig.build.json
cp node/config.schema.json dist/node/

/**
 * Writes bpf/generated/maps.ts from the BTF of the compiled object: struct layouts with readers and writers, enums,
 * and the maps with their key and value types. `npm run generate` after a change in bpf/tpot_structs.h; a unit test
 * fails while the committed file differs from what the object says.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { builtFile, packageRoot } from '../host/paths.js';
import { dumpBtf, generateBindings } from './btf-bindings.js';

export const generatedPath = join(packageRoot, 'bpf', 'generated', 'maps.ts');

writeFileSync(generatedPath, generateBindings(dumpBtf(builtFile('bpf', 'tpot.bpf.o'))));

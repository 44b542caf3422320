import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { CAP, capabilitiesOf, capabilitySet, rootMayRead, rootMayWrite } from './capabilities.js';

describe('capabilities', () => {
  it('are read from a status file', () => {
    const status =
      'CapInh:\t0\nCapPrm:\t000000c000001002\nCapEff:\t000000c000001002\nCapBnd:\t000001ffffffffff\n';
    const { dacOverride, netAdmin, perfmon, bpf } = CAP;
    expect(capabilitiesOf(status)).toEqual({
      effective: capabilitySet([dacOverride, netAdmin, perfmon, bpf]),
      bounding: capabilitySet(Array.from({ length: 41 }, (_, number) => number)),
    });
  });
});

describe('what root may without capabilities', () => {
  const root = mkdtempSync(join(tmpdir(), 'tpot-modes-'));
  afterAll(() => rmSync(root, { recursive: true }));

  it('follows the modes of the file and of the folders above', () => {
    const folder = join(root, 'folder');
    const file = join(folder, 'file');
    mkdirSync(folder);
    writeFileSync(file, '');
    chmodSync(root, 0o755);
    for (const [folderMode, fileMode, read, write] of [
      [0o755, 0o644, true, undefined],
      [0o777, 0o666, true, true],
      [0o777, 0o000, false, false],
      [0o666, 0o666, false, false],
    ] as const) {
      chmodSync(folder, folderMode);
      chmodSync(file, fileMode);
      expect(rootMayRead(file)).toBe(read);
      if (write !== undefined) expect(rootMayWrite(file)).toBe(write);
      chmodSync(folder, 0o777);
    }
  });
});

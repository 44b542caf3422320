import { describe, expect, it } from 'vitest';
import type { Codec } from './codec.js';
import { FORM } from './frame.js';
import { LevelCeiling } from './level.js';
import { Packer } from './packer.js';
import { emptyStats } from './stats.js';

const text = Buffer.from('all is well, '.repeat(1000));

describe('a compressor that fails', () => {
  const broken: Codec = {
    name: 'broken',
    bit: 1,
    levels: [1],
    compressor: () => {
      throw new Error('no memory');
    },
    decompressor: () => {
      throw new Error('not used');
    },
  };

  it('lets bytes go as they are, and is counted', () => {
    const stats = emptyStats();
    const packer = new Packer(broken, stats, new LevelCeiling());
    expect(packer.pack(text, () => false)).toEqual({ form: FORM.plain, bytes: text });
    expect(stats.compressorFailures).toBe(1);
    // It is not tried for every block.
    for (let count = 0; count < 8; count++) packer.pack(text, () => false);
    expect(stats.compressorFailures).toBe(1);
    packer.close();
  });
});

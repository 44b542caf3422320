import { describe, expect, it } from 'vitest';
import { reasonOfEnumerator, REASONS } from './reasons.js';

describe('reason codes', () => {
  it('map to enumerators and back', () => {
    for (const code of Object.keys(REASONS)) {
      expect(reasonOfEnumerator(`TPOT_R_${code.toUpperCase().replaceAll('-', '_')}`)).toBe(code);
    }
    expect(reasonOfEnumerator('TPOT_R_NO_SUCH')).toBeUndefined();
    expect(reasonOfEnumerator('TPOT_R_TOSTRING')).toBeUndefined();
    expect(reasonOfEnumerator('TAKEN')).toBeUndefined();
  });

  it('are lower case with dashes, and each says what it means on one line', () => {
    for (const [code, meaning] of Object.entries(REASONS)) {
      expect(code).toMatch(/^[a-z]+(-[a-z]+)*$/);
      expect(meaning).toMatch(/^[^\n.]{10,120}$/);
    }
  });
});

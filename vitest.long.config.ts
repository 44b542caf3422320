import { defineConfig } from 'vitest/config';

/** What takes longer than the ten minutes of `npm test`: more cases, more bytes, more connections. */
export default defineConfig({
  test: {
    include: ['test/**/*.long.test.ts'],
    fileParallelism: false,
    testTimeout: 1_800_000,
    hookTimeout: 120_000,
  },
});

import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/longest-first.js';

// Costs each process that is started more time than it takes to start, and no test talks to a machine that has such a certificate.
delete process.env['NODE_EXTRA_CA_CERTS'];

// Two projects: `unit` needs no privileges; `net` drives real namespaces, BPF and processes as root, two files at a
// time so that timing-sensitive kernel work is not starved on two cores. (By itself Vitest leaves one core free.)
export default defineConfig({
  test: {
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            '{core,host,wire,tpot,splice,transcode,content,bpf,node,cache,client-shim,doctor,cli,netns,bench,scripts}/**/*.test.ts',
          ],
          maxWorkers: 2,
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: 'net',
          include: ['test/**/*.test.ts'],
          exclude: ['test/**/*.long.test.ts'],
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
          testTimeout: 120_000,
          hookTimeout: 120_000,
        },
      },
    ],
  },
});

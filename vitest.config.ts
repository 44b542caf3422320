import { defineConfig } from 'vitest/config';

// Two projects: `unit` needs no privileges and runs in parallel; `net` drives real namespaces, BPF and
// processes as root, one file at a time so that timing-sensitive kernel work is not starved on two cores.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            '{core,host,wire,tpot,splice,transcode,content,bpf,node,cache,client-shim,doctor,cli,netns,bench,scripts}/**/*.test.ts',
          ],
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

import { describe, expect, it } from 'vitest';
import { parseMachineTime, parseProcessTicks, usageBetween } from './cpu.js';
import { parseOffloads } from './offloads.js';
import { parseMapInfo } from '../../bpf/pinned.js';
import { numberedFlow } from './splice-table.js';

describe('/proc', () => {
  it('the machine: waiting and what others took is not busy', () => {
    const text = 'cpu  100 10 50 1000 7 3 20 9 0 0\ncpu0 1 2 3\ncpu1 1 2 3\n';
    expect(parseMachineTime(text)).toEqual({ idle: 1007, softirq: 20, stolen: 9, processors: 2 });
  });

  it('a process, even with a name that has spaces and parentheses', () => {
    const fields = ['S', ...Array.from({ length: 10 }, () => '0'), '40', '2', '0'];
    expect(parseProcessTicks(`7 (a) b (c)) ${fields.join(' ')}`)).toBe(42);
  });

  it('use is what happened between two looks', () => {
    const machine = { idle: 0, softirq: 0, stolen: 0, processors: 2 };
    const usage = usageBetween(
      { machine, processTicks: 10, time: 0 },
      { machine: { idle: 40, softirq: 50, stolen: 10, processors: 2 }, processTicks: 60, time: 1000 },
    );
    expect(usage).toMatchObject({
      machine: 0.75,
      softirq: 0.25,
      processes: 0.5,
      busySeconds: 1.5,
      seconds: 1,
    });
  });
});

it('ethtool: only what matters here', () => {
  const text = 'Features for x:\nrx-checksumming: on\ntx-checksumming: on\n\ttx-checksum-ipv4: off [fixed]\n';
  expect(parseOffloads(`${text}tcp-segmentation-offload: off\nlarge-receive-offload: off [fixed]\n`)).toEqual(
    {
      'tx-checksumming': 'on',
      'tcp-segmentation-offload': 'off',
      'large-receive-offload': 'off [fixed]',
    },
  );
});

it('a map says what it takes and holds', () => {
  const text = 'pos:\t0\nmap_type:\t1\nmax_entries:\t262144\nmemlock:\t4195648\nfrozen:\t0\n';
  expect(parseMapInfo(text)).toMatchObject({ memoryBytes: 4195648, maxEntries: 262144 });
});

it('numbered flows are all different', () => {
  const keys = [0, 1, 59_999, 60_000, 1_999_999].map((number) => {
    const { source, sourcePort } = numberedFlow(number);
    return `${Buffer.from(source).toString('hex')}:${sourcePort}`;
  });
  expect(new Set(keys).size).toBe(keys.length);
  expect(keys.at(-1)).toMatch(/c6130021:21023$/);
});

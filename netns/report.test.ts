import { expect, test } from 'vitest';
import type { LabReport } from './lab.js';
import { formatReport, reportJson } from './report.js';
import { planLinks, type TopologySpec } from './spec.js';

const spec: TopologySpec = {
  hosts: [
    { name: 'c1', role: 'client' },
    { name: 'origin', role: 'origin' },
  ],
  links: [{ between: ['c1', 'origin'] }],
};

function report(change: Partial<LabReport>): LabReport {
  const hosts = spec.hosts.map(({ name, role }) => ({
    name,
    role,
    namespace: `tpot-abcde-${name}`,
    address: '198.18.1.2',
  }));
  const topology = {
    spec,
    links: planLinks(spec),
    hosts,
    directory: '/tmp/x',
  } as unknown as LabReport['topology'];
  return {
    lab: { name: 'demo', summary: 'a demonstration', spec, run: () => Promise.resolve() },
    id: 'abcde',
    ok: true,
    checks: [{ name: 'it works', ok: true, detail: 'yes' }],
    steps: ['looked at it'],
    plots: [],
    figures: {},
    cases: [],
    tables: [{ head: ['a', 'long head'], rows: [['long cell', 'b']] }],
    captures: [
      {
        link: 'c1-origin',
        file: '/tmp/x/c.pcap',
        summary: { packets: 3, drops: 0, protocols: { TCP: 2, ARP: 1 } },
        packets: [],
      },
    ],
    topology,
    kept: false,
    milliseconds: 1234,
    ...change,
  };
}

test('a report that holds', () => {
  expect(formatReport(report({})).split('\n')).toEqual([
    'demo: a demonstration',
    '',
    '  c1 ------------- origin',
    '  198.18.1.2       198.18.1.1',
    '',
    '  c1         client  198.18.1.2      tpot-abcde-c1',
    '  origin     origin  198.18.1.2      tpot-abcde-origin',
    '',
    'steps',
    '  1. looked at it',
    '',
    '  a          long head',
    '  ---------  ---------',
    '  long cell  b',
    '',
    'checks',
    '  ✓ it works (yes)',
    '',
    'captures',
    '  /tmp/x/c.pcap: 3 packets (2 TCP, 1 ARP), 0 lost',
    '',
    'all 1 checks hold (1.2 s)',
    '',
  ]);
});

test('what does not hold, and where to look', () => {
  const checks = [{ name: 'it works', ok: false, detail: 'no:\nbecause' }];
  const text = formatReport(report({ ok: false, checks, captures: [] }));
  expect(text).toContain('  ✗ it works (no:\n      because)');
  expect(text).toContain('1 of 1 checks do not hold (1.2 s); logs are in /tmp/x');
  expect(text).not.toContain('captures');
});

test('a kept lab tells how to get in and how to remove it', () => {
  const text = formatReport(report({ kept: true }));
  expect(text).toContain('tpot-node lab exec --id abcde c1 -- CMD');
  expect(text).toContain('tpot-node lab down --id abcde');
});

test('as data: lab, ok and checks only', () => {
  expect(reportJson(report({}))).toEqual({
    lab: 'demo',
    ok: true,
    checks: [{ name: 'it works', ok: true, detail: 'yes' }],
  });
});

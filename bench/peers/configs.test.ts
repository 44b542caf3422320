import { describe, expect, it } from 'vitest';
import { chooseContenders, BASELINE } from '../contenders.js';
import { SOCKS_GREETING, socksConnected, socksMethodAccepted, socksRequest } from '../load/socks.js';
import { danteConfig } from './dante.js';
import { haproxyConfig } from './haproxy.js';
import { nginxConfig } from './nginx.js';

const site = { origin: '192.0.2.80', threads: 2, directory: '/tmp/x' };

describe('the peers', () => {
  it('have every port of the origin', () => {
    const dante = danteConfig({ ...site, proxy: '198.18.1.1', external: 'to-origin' });
    for (const port of [5001, 5002, 5003]) {
      expect(haproxyConfig(site, false)).toContain(
        `bind 0.0.0.0:${port}\n  server origin 192.0.2.80:${port}\n`,
      );
      expect(nginxConfig(site)).toContain(`listen ${port} backlog=4096; proxy_pass 192.0.2.80:${port};`);
      expect(dante).toContain(`internal: 198.18.1.1 port = ${port + 1000}\n`);
    }
  });

  it('have the processors that they are given', () => {
    expect(haproxyConfig(site, true)).toMatch(/nbthread 2\n[^]*option splice-auto/);
    expect(haproxyConfig(site, false)).not.toContain('splice');
    expect(nginxConfig(site)).toContain('worker_processes 2;');
  });

  it('are chosen by name, the baseline always first', () => {
    expect(chooseContenders(['nginx', 'haproxy']).map(({ name }) => name)).toEqual([
      BASELINE,
      'haproxy',
      'nginx',
    ]);
    expect(() => chooseContenders(['squid'])).toThrow('there is no contender squid');
  });
});

describe('SOCKS 5 (RFC 1928)', () => {
  it('asks for an address and a port, without a password', () => {
    expect([...SOCKS_GREETING]).toEqual([5, 1, 0]);
    expect([...socksRequest('192.0.2.80', 5001)]).toEqual([5, 1, 0, 1, 192, 0, 2, 80, 0x13, 0x89]);
  });

  it('knows yes from no', () => {
    expect(socksMethodAccepted(Uint8Array.of(5, 0))).toBe(true);
    expect(socksMethodAccepted(Uint8Array.of(5, 0xff))).toBe(false);
    expect(socksConnected(Uint8Array.of(5, 0, 0, 1, 0, 0, 0, 0, 0, 0))).toBe(true);
    expect(socksConnected(Uint8Array.of(5, 2, 0, 1, 0, 0, 0, 0, 0, 0))).toBe(false);
  });
});

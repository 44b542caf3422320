import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ip } from '../core/address.js';
import type { ReplyOption } from './option.js';
import { startTunnel, stepTunnel, type TunnelEvent, type TunnelState, type TunnelStep } from './tunnel.js';

const reply = (address: string, udpPort?: number): ReplyOption => ({
  type: 'reply',
  address: ip(address),
  flags: 0,
  capabilities: 0,
  ...(udpPort === undefined ? {} : { udpPort }),
});
const offering = startTunnel(reply('198.18.1.1', 6080), undefined, 0);
const silent = startTunnel(reply('198.18.1.1'), undefined, 0);
const again = (heard = false, insistent = false): TunnelEvent => ({
  type: 'syn-ack-again',
  heard,
  insistent,
});
const insistent = again(false, true);
const unreachable = (udp: boolean, heard = false): TunnelEvent => ({ type: 'unreachable', udp, heard });

function run(state: TunnelState, ...events: readonly TunnelEvent[]): TunnelStep {
  let step: TunnelStep = { state, actions: [], reasons: [] };
  for (const event of events) {
    const next = stepTunnel(step.state, event);
    const actions = [...step.actions, ...next.actions];
    step = { state: next.state, actions, reasons: [...step.reasons, ...next.reasons] };
  }
  return step;
}

describe('a tunnel', () => {
  it('begins with IP in IP, and in UDP where that is known not to pass', () => {
    expect([offering.way, silent.way]).toEqual(['ip', 'ip']);
    const known = { until: 100, period: 100 };
    expect(startTunnel(reply('198.18.1.1', 6080), known, 99).way).toBe('udp');
    expect(startTunnel(reply('198.18.1.1', 6080), known, 100).way).toBe('ip');
    expect(startTunnel(reply('198.18.1.1'), known, 0).way).toBe('ip'); // the node takes no UDP any more
    expect(startTunnel(reply('198.18.1.1', 0), known, 0).udpPort).toBeUndefined();
  });

  it('is offered at the registered port over IPv6', () => {
    expect(startTunnel(reply('2001:db8:1::1'), undefined, 0).udpPort).toBe(6080);
  });

  it('goes on in UDP at the second repetition, and plain at the third', () => {
    expect(run(offering, again()).state.way).toBe('ip');
    const udp = run(offering, again(), again());
    expect([udp.state.way, udp.actions, udp.reasons]).toEqual(['udp', ['remember-udp'], ['tunnel-udp']]);
    const plain = run(offering, again(), again(), again());
    expect(plain.state.way).toBe('plain');
    expect(plain.actions).toEqual(['remember-udp', 'forget-udp', 'remember-black-hole']);
  });

  it('goes on in UDP at the first where TCP has insisted, but plain no earlier than ever', () => {
    expect(run(offering, insistent).state.way).toBe('udp');
    expect(run(offering, insistent, insistent).state.way).toBe('plain');
    expect(run(silent, insistent).state.way).toBe('ip');
    expect(run(silent, insistent, insistent).state.way).toBe('plain');
    expect(run(offering, unreachable(false), insistent).state.way).toBe('udp');
  });

  it('goes plain at once where no port was offered', () => {
    const plain = run(silent, again(), again());
    expect([plain.state.way, plain.actions]).toEqual(['plain', ['remember-black-hole']]);
    expect(run(silent, unreachable(false)).state.way).toBe('plain');
  });

  it('goes on when the network says so, and then UDP has all its time', () => {
    expect(run(offering, unreachable(false)).state.way).toBe('udp');
    expect(run(offering, unreachable(false), again()).state.way).toBe('udp');
    expect(run(offering, unreachable(false), again(), again()).state.way).toBe('plain');
    expect(run(offering, unreachable(false), unreachable(true)).state.way).toBe('plain');
  });

  it('is not moved by errors about what was sent before', () => {
    expect(run(offering, unreachable(false), unreachable(false)).state.way).toBe('udp');
    expect(run(offering, unreachable(true)).state.way).toBe('ip');
  });

  it('never changes once the node was heard, and plain is final', () => {
    const event = fc.oneof(
      fc.tuple(fc.boolean(), fc.boolean()).map(([heard, insists]) => again(heard, insists)),
      fc.tuple(fc.boolean(), fc.boolean()).map(([u, h]) => unreachable(u, h)),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(offering, silent),
        fc.array(event),
        fc.array(event),
        (start, before, after) => {
          const then = run(start, ...before).state;
          const heard = after.map((one) => ({ ...one, heard: true }));
          expect(run(then, ...heard).state.way).toBe(then.way);
          if (then.way === 'plain')
            expect(run(then, ...after)).toEqual({ state: then, actions: [], reasons: [] });
        },
      ),
    );
  });
});

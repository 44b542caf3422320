import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ip } from '../core/address.js';
import { bytesUpTo } from '../wire/arbitraries.props.js';
import { seq } from '../wire/seq.js';
import { parseKeyFile } from './key-file.js';
import { isAuthentic, signed, sipHash, type Handshake, type Key } from './key.js';
import { decodeOption, encodeOption, type ReplyOption, type RequestOption } from './option.js';

const counting = Uint8Array.from({ length: 64 }, (_, index) => index);
const key: Key = { id: 'paper', secret: counting.subarray(0, 16) };
const other: Key = { id: 'other', secret: counting.subarray(16, 32) };

const syn: Handshake = {
  source: ip('198.18.0.7'),
  sourcePort: 40000,
  destination: ip('192.0.2.80'),
  destinationPort: 80,
  seq: seq(0xdeadbeef),
  isn: undefined,
};
const answer: Handshake = { ...syn, isn: seq(12345) };
const request: RequestOption = { type: 'request', hops: 8, capabilities: 5 };
const reply: ReplyOption = {
  type: 'reply',
  address: ip('198.18.1.1'),
  flags: 0,
  capabilities: 5,
  udpPort: 6080,
};

describe('SipHash-2-4', () => {
  // Appendix A of the paper, and `vectors_sip64` of its authors' reference implementation.
  it.each([
    [0, 0x726fdb47dd0e0e31n],
    [1, 0x74f839c593dc67fdn],
    [7, 0xab0200f58b01d137n],
    [8, 0x93f5f5799a932462n],
    [15, 0xa129ca6149be45e5n],
    [63, 0x958a324ceb064572n],
  ])('of the first %i numbers is that of the paper', (length, expected) => {
    expect(sipHash(key, counting.subarray(0, length))).toBe(expected);
  });
});

describe('a MAC', () => {
  it('is carried by the option, in every form that has one', () => {
    for (const option of [request, reply, { ...reply, udpPort: undefined }]) {
      const plain = Object.fromEntries(Object.entries(option).filter(([, value]) => value !== undefined));
      const made = signed(plain as unknown as ReplyOption, answer, [key]);
      expect(made.mac).toBeTypeOf('number');
      expect(decodeOption(encodeOption(made))).toEqual(made);
    }
    const six: ReplyOption = { type: 'reply', address: ip('2001:db8::1'), flags: 0, capabilities: 0 };
    expect(signed(six, answer, [key])).toBe(six);
  });

  it('is right for any of the keys, and outlives fewer hops', () => {
    const made = signed(request, syn, [key, other]);
    expect(isAuthentic(made, syn, [other, key])).toBe(true);
    expect(isAuthentic({ ...made, hops: 3 }, syn, [key])).toBe(true);
    expect(isAuthentic(made, syn, [other])).toBe(false);
    expect(isAuthentic(made, syn, [])).toBe(false);
    expect(isAuthentic(request, syn, [key])).toBe(false);
  });

  it.each<[string, Partial<Handshake>]>([
    ['source', { source: ip('198.18.0.8') }],
    ['source port', { sourcePort: 40001 }],
    ['destination', { destination: ip('192.0.2.81') }],
    ['destination port', { destinationPort: 81 }],
    ['sequence number', { seq: seq(1) }],
    ['initial sequence number', { isn: seq(1) }],
  ])('is bound to the %s', (_, change) => {
    expect(isAuthentic(signed(reply, answer, [key]), answer, [key])).toBe(true);
    expect(isAuthentic(signed(reply, answer, [key]), { ...answer, ...change }, [key])).toBe(false);
  });

  it('is bound to every field of a reply', () => {
    const made = signed(reply, answer, [key]);
    const changes: Partial<ReplyOption>[] = [
      { address: ip('198.18.1.2') },
      { flags: 1 },
      { capabilities: 4 },
      { udpPort: 6081 },
    ];
    for (const change of changes) expect(isAuthentic({ ...made, ...change }, answer, [key])).toBe(false);
  });
});

describe('a file of keys', () => {
  const secret = '000102030405060708090a0b0c0d0e0f';

  it('has a key on a line, in the order in which they count', () => {
    const text = `# ours\n2026-11 ${secret}\n\nold\t${secret.toUpperCase()} # until May\n`;
    expect(parseKeyFile(text)).toEqual({
      keys: [
        { id: '2026-11', secret: key.secret },
        { id: 'old', secret: key.secret },
      ],
    });
  });

  it.each([
    [undefined, '# nothing\n'],
    [2, `a ${secret}\nb 0011\n`],
    [2, `a ${secret}\na ${secret}\n`],
    [1, secret],
    [undefined, ['a', 'b', 'c', 'd', 'e'].map((id) => `${id} ${secret}`).join('\n')],
  ])('is refused with the line, %s, and without a secret', (line, text) => {
    const parsed = parseKeyFile(text);
    expect(parsed).toMatchObject({ fault: { line } });
    expect(JSON.stringify(parsed)).not.toContain('0001');
  });

  it('never throws', () => {
    fc.assert(
      fc.property(bytesUpTo(200), (bytes) => void parseKeyFile(Buffer.from(bytes).toString('latin1'))),
    );
  });
});

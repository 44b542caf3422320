import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bytesUpTo, plainOption } from './arbitraries.props.js';
import { concat } from './bytes.js';
import { tcpOptions, type TcpOption } from './tcp-options.js';

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));

/** Areas that look like options, with a tail that may be anything. */
const area = fc
  .tuple(fc.array(plainOption, { maxLength: 6 }), bytesUpTo(20))
  .map(([options, tail]) => concat(tcpOptions.emit(options), tail));

describe('tcpOptions', () => {
  it('reads what a Linux SYN carries', () => {
    const options = tcpOptions.parse(hex('0204 05b4 0402 080a 00000001 00000000 01 030307'));
    expect(tcpOptions.format(options)).toBe('mss 1460,sack-permitted,ts 1/0,nop,wscale 7');
  });

  it('gives back any area byte for byte, malformed tails included', () => {
    fc.assert(
      fc.property(fc.oneof(bytesUpTo(64), area), (bytes) => {
        const options = tcpOptions.parse(bytes);
        expect(tcpOptions.emit(options)).toEqual(bytes);
        expect(tcpOptions.byteLength(options)).toBe(bytes.length);
        expect(typeof tcpOptions.format(options)).toBe('string');
      }),
    );
  });

  it('gives back any list of options', () => {
    fc.assert(
      fc.property(fc.array(plainOption, { maxLength: 8 }), (options) => {
        expect(tcpOptions.parse(tcpOptions.emit(options))).toEqual(options);
      }),
    );
  });

  it('keeps a known kind of unexpected length as unknown', () => {
    expect(tcpOptions.parse(hex('0203ff'))).toEqual([
      { kind: 'unknown', code: 2, data: Uint8Array.of(0xff) },
    ]);
    expect(tcpOptions.parse(hex('0502'))).toEqual([{ kind: 'unknown', code: 5, data: new Uint8Array() }]);
  });

  it('keeps what stands behind the end of the list, and does not read it', () => {
    expect(tcpOptions.parse(hex('01 00 020405b4'))).toEqual([
      { kind: 'nop' },
      { kind: 'end', padding: hex('020405b4') },
    ]);
  });

  it.each([
    ['length 0', '01 fd00 0101', 'fd000101'],
    ['length 1', 'fd01', 'fd01'],
    ['length beyond the area', '01 fd08 5450', 'fd085450'],
    ['no room for a length', '0101fd', 'fd'],
  ])('reports an illegal length and keeps its bytes: %s', (_name, bytes, rest) => {
    const options = tcpOptions.parse(hex(bytes));
    expect(options.at(-1)).toEqual({ kind: 'malformed', bytes: hex(rest) });
    expect(tcpOptions.check(hex(bytes))).toBe('bad-option-length');
  });

  it('finds no fault exactly when nothing is malformed', () => {
    fc.assert(
      fc.property(area, (bytes) => {
        const malformed = tcpOptions.parse(bytes).some((option) => option.kind === 'malformed');
        expect(tcpOptions.check(bytes)).toBe(malformed ? 'bad-option-length' : undefined);
      }),
    );
  });

  it('emits no more of an unknown option than its length byte can say', () => {
    const tooLong: TcpOption = { kind: 'unknown', code: 99, data: new Uint8Array(300) };
    expect(tcpOptions.byteLength([tooLong])).toBe(255);
  });
});

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { connect as connectTls } from 'node:tls';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { accepted, portOf, readSome, Sockets } from '../test/loopback.js';
import { hostName, MOST_HELLO_BYTES, readTlsStart, type ClientHello } from './tls-hello.js';

const u16 = (value: number): number[] => [value >> 8, value & 0xff];
const vector = (size: 1 | 2, bytes: readonly number[]): number[] => [
  ...(size === 1 ? [bytes.length] : u16(bytes.length)),
  ...bytes,
];
const ascii = (text: string): number[] => [...Buffer.from(text, 'latin1')];
const extension = (type: number, data: readonly number[]): number[] => [...u16(type), ...vector(2, data)];
const nameEntry = (name: string, type = 0): number[] => [type, ...vector(2, ascii(name))];
const serverNames = (...entries: number[][]): number[] => extension(0, vector(2, entries.flat()));
const protocols = (...names: string[]): number[] =>
  extension(
    16,
    vector(
      2,
      names.flatMap((name) => vector(1, ascii(name))),
    ),
  );
/** RFC 8701: values that mean nothing, in every place. */
const GREASE = 0x5a5a;

interface Parts {
  readonly version?: number;
  readonly session?: readonly number[];
  readonly ciphers?: readonly number[];
  readonly extensions?: readonly number[] | undefined;
}

function message({ version = 0x0303, session = [], ciphers = [0x13, 0x01], extensions }: Parts): Uint8Array {
  const body = [
    ...u16(version),
    ...new Array<number>(32).fill(7),
    ...vector(1, session),
    ...vector(2, ciphers),
    ...vector(1, [0]),
    ...(extensions === undefined ? [] : vector(2, extensions)),
  ];
  return Uint8Array.of(1, body.length >> 16, ...u16(body.length & 0xffff), ...body);
}

/** The message in records of these fragment lengths; the rest in a last one. */
function records(handshake: Uint8Array, lengths: readonly number[] = [], minor = 1, type = 22): Uint8Array {
  const out: number[] = [];
  let at = 0;
  for (const length of [...lengths, handshake.length]) {
    const fragment = handshake.subarray(at, at + length);
    at += fragment.length;
    if (fragment.length > 0) out.push(type, 3, minor, ...u16(fragment.length), ...fragment);
  }
  return Uint8Array.from(out);
}

const hello = (parts: Parts): Uint8Array => records(message(parts));
const EXAMPLE = {
  extensions: [...serverNames(nameEntry('www.example.net')), ...protocols('h2', 'http/1.1')],
};
const SAYS: ClientHello = { serverName: 'www.example.net', alpn: ['h2', 'http/1.1'] };

describe('a ClientHello', () => {
  it.each([0, 1, 2, 3, 4])('is read whatever the version of its record, 3.%i', (minor) => {
    expect(readTlsStart(records(message(EXAMPLE), [], minor))).toEqual({ kind: 'hello', hello: SAYS });
  });

  it('may say nothing', () => {
    const nothing = { kind: 'hello', hello: { serverName: undefined, alpn: [] } };
    expect(readTlsStart(hello({ version: 0x0301 }))).toEqual(nothing);
    expect(readTlsStart(hello({ extensions: [] }))).toEqual(nothing);
  });

  it('may be full of GREASE, and carry an encrypted one inside', () => {
    const extensions = [
      ...extension(GREASE, []),
      ...extension(0xfe0d, new Array<number>(200).fill(9)),
      ...serverNames(nameEntry('public.example')),
      ...protocols('\x5a\x5a', 'h2'),
      ...extension(0xaaaa, [0]),
    ];
    const ciphers = [...u16(GREASE), 0x13, 0x01];
    expect(readTlsStart(hello({ session: new Array<number>(32).fill(1), ciphers, extensions }))).toEqual({
      kind: 'hello',
      hello: { serverName: 'public.example', alpn: ['ZZ', 'h2'] },
    });
    expect(readTlsStart(hello({ extensions: protocols('\x0a\x0a', 'a b') }))).toMatchObject({
      hello: { alpn: ['\\x0a\\x0a', 'a\\x20b'] },
    });
  });

  it('may name things of other types, which are passed over', () => {
    const extensions = serverNames(nameEntry('x', 9), nameEntry('www.example.net'));
    expect(readTlsStart(hello({ extensions }))).toMatchObject({ hello: { serverName: 'www.example.net' } });
    expect(readTlsStart(hello({ extensions: serverNames(nameEntry('x', 9)) }))).toMatchObject({
      hello: { serverName: undefined },
    });
  });

  it('is complete at its last byte, and what follows is not looked at', () => {
    const bytes = hello(EXAMPLE);
    for (let length = 0; length < bytes.length; length++) {
      expect(readTlsStart(bytes.subarray(0, length))).toEqual({ kind: 'need-more' });
    }
    expect(readTlsStart(Uint8Array.of(...bytes, 20, 3, 3, 0, 1, 1))).toEqual({ kind: 'hello', hello: SAYS });
  });

  it('may be cut into records at any places', () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 200 });
    fc.assert(
      fc.property(lengths, (cuts) => {
        expect(readTlsStart(records(message(EXAMPLE), cuts))).toEqual({ kind: 'hello', hello: SAYS });
      }),
    );
  });

  it('gives back the names that were put in', () => {
    const label = fc.stringMatching(/^[a-z0-9](?:[a-z0-9-]{0,8}[a-z0-9])?$/);
    const name = fc.tuple(fc.array(label, { maxLength: 4 }), fc.stringMatching(/^[a-z][a-z0-9]{0,5}$/));
    const ids = fc.array(fc.stringMatching(/^[!-~]{1,20}$/), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(name, ids, fc.boolean(), ([labels, last], alpn, dot) => {
        const serverName = [...labels, last].join('.');
        const written = `${serverName.toUpperCase()}${dot ? '.' : ''}`;
        const bytes = hello({ extensions: [...protocols(...alpn), ...serverNames(nameEntry(written))] });
        expect(readTlsStart(bytes)).toEqual({ kind: 'hello', hello: { serverName, alpn } });
      }),
    );
  });
});

describe('what is no ClientHello', () => {
  it.each([
    ['HTTP', ascii('GET / HTTP/1.1\r\n')],
    ['SSH', ascii('SSH-2.0-x\r\n')],
    ['SSL 2', [0x80, 0x2e, 1, 3, 1]],
    ['another record', [23, 3, 3, 0, 5]],
    ['another major version', [22, 4]],
    ['a later minor version', [22, 3, 5]],
    ['an empty record', [22, 3, 1, 0, 0]],
    ['a record that is too long', [22, 3, 1, 0x40, 1]],
    ['another handshake message', [22, 3, 1, 0, 4, 2]],
  ])('%s', (_, bytes) => {
    expect(readTlsStart(Uint8Array.from(bytes))).toEqual({ kind: 'other' });
  });

  it.each<[string, Uint8Array]>([
    ['a session of 33 bytes', hello({ session: new Array<number>(33).fill(0) })],
    ['no cipher', hello({ ciphers: [] })],
    ['half a cipher', hello({ ciphers: [1, 2, 3] })],
    ['an extension twice', hello({ extensions: [...extension(7, []), ...extension(7, [])] })],
    ['an extension that is longer than the list', hello({ extensions: [0, 0, 0, 9, 0] })],
    ['two host names', hello({ extensions: serverNames(nameEntry('a.example'), nameEntry('b.example')) })],
    ['an empty host name', hello({ extensions: serverNames(nameEntry('')) })],
    ['an empty list of names', hello({ extensions: serverNames() })],
    ['bytes behind the names', hello({ extensions: extension(0, [...vector(2, nameEntry('a')), 0]) })],
    ['an empty protocol', hello({ extensions: protocols('') })],
    [
      'a record of another type in between',
      Uint8Array.of(...records(message(EXAMPLE), [9]).subarray(0, 14), 21, 3, 3, 0, 2),
    ],
    [
      'an empty record in between',
      Uint8Array.of(...records(message(EXAMPLE), [9]).subarray(0, 14), 22, 3, 3, 0, 0),
    ],
  ])('malformed: %s', (_, bytes) => {
    expect(readTlsStart(bytes)).toEqual({ kind: 'malformed' });
  });

  it('may be longer than anybody waits for', () => {
    const padding = extension(21, new Array<number>(MOST_HELLO_BYTES).fill(0));
    const long = records(message({ extensions: padding }), [16_000]);
    expect(readTlsStart(long.subarray(0, 9))).toEqual({ kind: 'too-long' });
    // Small records take their toll.
    const wide = message({ extensions: extension(21, new Array<number>(10_000).fill(0)) });
    const crumbs = records(wide, new Array<number>(wide.length).fill(1));
    expect(readTlsStart(crumbs.subarray(0, MOST_HELLO_BYTES - 1))).toEqual({ kind: 'need-more' });
    expect(readTlsStart(crumbs.subarray(0, MOST_HELLO_BYTES))).toEqual({ kind: 'too-long' });
  });

  it('never throws, and never names what is no host name', () => {
    const base = hello(EXAMPLE);
    const change = fc.tuple(fc.nat(base.length - 1), fc.integer({ min: 0, max: 255 }));
    const check = (bytes: Uint8Array): void => {
      const start = readTlsStart(bytes);
      if (start.kind !== 'hello') return;
      const { serverName, alpn } = start.hello;
      expect(serverName === undefined || hostName(serverName) === serverName).toBe(true);
      for (const protocol of alpn) expect(protocol).toMatch(/^[\x21-\x7e]+$/);
    };
    fc.assert(
      fc.property(fc.array(change, { maxLength: 6 }), fc.nat(base.length), (changes, length) => {
        const bytes = base.slice(0, length);
        for (const [at, value] of changes) bytes[at] = value;
        check(bytes);
      }),
      { numRuns: 3000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (tail) => {
        check(Uint8Array.of(22, 3, 1, 1, 0, 1, 0, 0, ...tail));
      }),
      { numRuns: 1000 },
    );
  });
});

describe('a host name', () => {
  it.each([
    ['WWW.Example.NET', 'www.example.net'],
    ['www.example.net.', 'www.example.net'],
    ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
    ['_dmarc.example', '_dmarc.example'],
    ['localhost', 'localhost'],
  ])('%s is %s', (written, name) => expect(hostName(written)).toBe(name));

  it.each(['', '.', 'a..b', '-a.example', 'a-.example', '192.0.2.1', '2001:db8::1', 'bücher.example', 'a b'])(
    'not %j',
    (written) => expect(hostName(written)).toBeUndefined(),
  );

  it('has limits', () => {
    expect(hostName(`${'a'.repeat(64)}.example`)).toBeUndefined();
    expect(hostName(`${'a.'.repeat(126)}a`)).toHaveLength(253);
    expect(hostName(`${'a.'.repeat(127)}a`)).toBeUndefined();
  });
});

describe('real clients', () => {
  const sockets = new Sockets();
  const children: ChildProcess[] = [];
  afterEach(() => {
    sockets.close();
    for (const child of children.splice(0)) child.kill();
  });

  /** What the first client that connects says, read as it comes. */
  async function said(start: (port: number) => void): Promise<ReturnType<typeof readTlsStart>> {
    const server = await sockets.listen();
    start(portOf(server));
    const socket = await accepted(server);
    let bytes = Buffer.alloc(0);
    let result = readTlsStart(bytes);
    while (result.kind === 'need-more') {
      bytes = Buffer.concat([bytes, await readSome(socket, 1)]);
      result = readTlsStart(bytes);
    }
    return result;
  }
  const run = (command: string, ...args: string[]): void => {
    children.push(spawn(command, args, { stdio: 'ignore' }));
  };

  it.each(['-tls1_2', '-tls1_3'])('openssl s_client %s', async (version) => {
    const result = await said((port) =>
      run(
        'openssl',
        's_client',
        version,
        '-connect',
        `127.0.0.1:${port}`,
        '-servername',
        'WWW.example.net',
        '-alpn',
        'h2,http/1.1',
      ),
    );
    expect(result).toEqual({ kind: 'hello', hello: SAYS });
  });

  it('openssl s_client in records of 512 bytes', async () => {
    const alpn = Array.from({ length: 150 }, (_, index) => `protocol-${index}`);
    const result = await said((port) =>
      run(
        'openssl',
        's_client',
        '-max_send_frag',
        '512',
        '-connect',
        `127.0.0.1:${port}`,
        '-servername',
        'a.example',
        '-alpn',
        alpn.join(','),
      ),
    );
    expect(result).toEqual({ kind: 'hello', hello: { serverName: 'a.example', alpn } });
  });

  it('openssl s_client without a name', async () => {
    const result = await said((port) =>
      run('openssl', 's_client', '-noservername', '-connect', `127.0.0.1:${port}`),
    );
    expect(result).toEqual({ kind: 'hello', hello: { serverName: undefined, alpn: [] } });
  });

  it('curl', async () => {
    const result = await said((port) =>
      run(
        'curl',
        '-sk',
        '--resolve',
        `www.example.net:${port}:127.0.0.1`,
        `https://www.example.net:${port}/`,
      ),
    );
    expect(result).toEqual({ kind: 'hello', hello: SAYS });
  });

  it('Node.js', async () => {
    const result = await said((port) => {
      const socket = connectTls({
        port,
        host: '127.0.0.1',
        servername: 'node.example',
        ALPNProtocols: ['x'],
      });
      sockets.keep(socket);
      void once(socket, 'close');
    });
    expect(result).toEqual({ kind: 'hello', hello: { serverName: 'node.example', alpn: ['x'] } });
  });
});

/** Processor time of transforms, and of what one would otherwise put into a pipe, on the same bytes. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TpotError } from '../../core/errors.js';
import { command } from '../../host/exec.js';
import { libxxhash } from '../../host/libxxhash.js';
import { Budget } from '../../transcode/budget.js';
import { agreementOf, bitsOf } from '../../transcode/capabilities.js';
import { ChunkStore } from '../../transcode/chunk-store.js';
import { CODECS, type Codec } from '../../transcode/codec.js';
import { Dictionaries, NO_DICTIONARY } from '../../transcode/dictionaries.js';
import { ABILITY, type Hello } from '../../transcode/frame.js';
import { Inbound } from '../../transcode/inbound.js';
import { LevelCeiling } from '../../transcode/level.js';
import { Outbound, type Shared } from '../../transcode/outbound.js';
import { emptyStats } from '../../transcode/stats.js';
import type { Corpus } from './transcode-corpora.js';

/** One pass over a corpus. */
export interface Pass {
  /** Bytes that came out. */
  readonly out: number;
  /** Processor time of who sends, and of who receives where that was measured; seconds. */
  readonly sending: number;
  readonly receiving: number | undefined;
}

export interface TranscodeSample {
  readonly corpus: string;
  readonly contender: string;
  readonly bytes: number;
  readonly passes: Pass[];
}

export interface Contender {
  readonly name: string;
  pass(corpus: Corpus, file: string): Pass | Promise<Pass>;
}

/** As a relay reads. */
const READ = 64 * 1024;
const STORE = 256 * 1024 * 1024;

/** Processor time of this process in seconds, and what `work` gave. */
function timed<T>(work: () => T): { value: T; seconds: number } {
  const before = process.cpuUsage();
  const value = work();
  const { user, system } = process.cpuUsage(before);
  return { value, seconds: (user + system) / 1e6 };
}

function* reads(bytes: Buffer): Generator<Buffer, void, undefined> {
  for (let at = 0; at < bytes.length; at += READ) yield bytes.subarray(at, at + READ);
}

/** A compressor at one level, block by block, each flushed. */
function codecPass(codec: Codec, level: number, { bytes }: Corpus): Pass {
  const compressor = codec.compressor(level);
  compressor.restart(level);
  const sent = timed(() => Array.from(reads(bytes), (plain) => compressor.compress(plain)));
  compressor.close();
  const decompressor = codec.decompressor();
  decompressor.restart();
  const got = timed(() => {
    for (const block of sent.value) decompressor.decompress(block, READ);
  });
  decompressor.close();
  const out = sent.value.reduce((sum, { length }) => sum + length, 0);
  return { out, sending: sent.seconds, receiving: got.seconds };
}

const sharedStore = (): Shared => ({
  store: new ChunkStore({ bytes: STORE, peers: 2 }),
  dictionaries: new Dictionaries(1024 * 1024),
  ceiling: new LevelCeiling(),
  held: new Budget(Infinity),
  waiting: new Budget(Infinity),
  xxh3: libxxhash(),
});

/** A direction of a leg as nodes run it: chunks, compression where it is worth it, frames and their checksums. */
function legPass(names: readonly string[], { bytes }: Corpus, near: Shared, far: Shared): Pass {
  const agreement = agreementOf(bitsOf(names)) ?? { codec: undefined, dedup: false };
  const [stats, farStats] = [emptyStats(), emptyStats()];
  const wire: Buffer[] = [];
  const nothing = (): void => undefined;
  const ports = {
    send: (...parts: readonly Buffer[]) => void wire.push(...parts),
    backedUp: () => false,
    silent: () => false,
    peerIsLast: () => false,
    peerIsPlain: () => false,
    plain: nothing,
  };
  const outbound = new Outbound(agreement, near, ports, stats);
  const hello = (store: ChunkStore): Hello => ({
    storeId: store.id,
    dictionaryId: NO_DICTIONARY,
    abilities: near.xxh3 === undefined ? 0 : ABILITY.xxh3,
  });
  const inbound = new Inbound(
    agreement,
    far,
    undefined,
    {
      deliver: nothing,
      full: () => false,
      ended: nothing,
      begun: nothing,
      plain: nothing,
      ask: (number) => outbound.missing(number),
      tellResolved: (upTo) => outbound.resolved(upTo),
      missing: nothing,
      resolved: nothing,
    },
    farStats,
  );
  outbound.begin(hello(near.store));
  outbound.peerSaid(hello(far.store));
  let [sending, receiving] = [0, 0];
  const carry = (work: () => void): void => {
    sending += timed(work).seconds;
    const parts = wire.splice(0);
    receiving += timed(() => {
      for (const part of parts) inbound.receive(part);
    }).seconds;
  };
  for (const plain of reads(bytes)) carry(() => outbound.write(plain));
  carry(() => outbound.end());
  outbound.close();
  inbound.close();
  if (farStats.plainReceived !== bytes.length) throw new TpotError('bench-failed', 'a stream did not arrive');
  return { out: stats.wireSent, sending, receiving };
}

function leg(name: string, streams: readonly string[], times = 1): Contender {
  return {
    name,
    pass: (corpus) => {
      const [near, far] = [sharedStore(), sharedStore()];
      for (let time = 1; time < times; time++) legPass(streams, corpus, near, far);
      return legPass(streams, corpus, near, far);
    },
  };
}

const PIPE = `TIMEFORMAT='%U %S'
cat "$1" | { time zstd -q -c --single-thread -"$2" 2>/dev/null; } 2>"$1.time" | wc -c`;

/** Sum of what bash's `time` printed, in seconds. */
function cpuOf(file: string): number {
  const [user = NaN, system = NaN] = readFileSync(file, 'utf8').trim().split(/\s+/).slice(-2).map(Number);
  return user + system;
}

function pipe(level: number): Contender {
  return {
    name: `zstd -${level} in a pipe`,
    pass: async (_corpus, file) => {
      const out = Number(await command('bash', ['-c', PIPE, 'bash', file, String(level)]));
      return { out, sending: cpuOf(`${file}.time`), receiving: undefined };
    },
  };
}

/** A server of its own, in a network and with a home of its own; the client is what is timed. */
const SSH = `set -e; ip link set lo up; mount -t tmpfs -o mode=700 tmpfs /root; mkdir -m 700 /root/.ssh
keys=$(mktemp -d); trap 'rm -rf "$keys"' EXIT
dropbearkey -t ed25519 -f "$keys/host" >/dev/null 2>&1; ssh-keygen -q -t ed25519 -N '' -f "$keys/user"
cp "$keys/user.pub" /root/.ssh/authorized_keys
dropbear -F -s -r "$keys/host" -P "$keys/pid" -p 127.0.0.1:22 2>/dev/null & server=$!
TIMEFORMAT='%U %S'
{ time ssh -v -C -F none -i "$keys/user" -o StrictHostKeyChecking=no -o ConnectionAttempts=20 -o UserKnownHostsFile=/dev/null \\
  root@127.0.0.1 'cat >/dev/null' <"$1" 2>"$1.ssh"; } 2>"$1.time"
kill $server
sed -n 's/.*compress outgoing: raw data [0-9]*, compressed \\([0-9]*\\),.*/\\1/p' "$1.ssh"`;

const ssh: Contender = {
  name: 'ssh -C',
  pass: async (_corpus, file) => {
    const said = await command('unshare', ['--net', '--mount', 'bash', '-c', SSH, 'bash', file]);
    const out = Number(said.trim());
    if (!(out > 0)) throw new TpotError('bench-failed', `ssh -C told nothing: ${said}`);
    return { out, sending: cpuOf(`${file}.time`), receiving: undefined };
  },
};

const codecContenders = (codec: Codec): Contender[] =>
  codec.levels.map((level) => ({
    name: `${codec.name} ${level}`,
    pass: (corpus) => codecPass(codec, level, corpus),
  }));

export const CONTENDERS: readonly Contender[] = [
  leg('frames alone', []),
  ...CODECS.flatMap(codecContenders),
  leg('leg: zstd', ['zstd']),
  leg('dedup, first time', ['dedup']),
  leg('dedup, again', ['dedup'], 2),
  leg('leg: dedup, zstd', ['dedup', 'zstd']),
  leg('leg: dedup, zstd, again', ['dedup', 'zstd'], 2),
  pipe(1),
  pipe(3),
  ssh,
];

export interface TranscodePlan {
  readonly rounds: number;
  /** Bytes of each corpus, at most. */
  readonly most: number;
}

/** Every contender over every corpus, in turn, round by round. */
export async function sampleTranscode(
  plan: TranscodePlan,
  found: readonly Corpus[],
  contenders: readonly Contender[],
  progress: (text: string) => void,
): Promise<TranscodeSample[]> {
  const directory = mkdtempSync(join(tmpdir(), 'tpot-bench-transcode-'));
  try {
    const samples = found.flatMap((corpus, index) => {
      const file = join(directory, String(index));
      writeFileSync(file, corpus.bytes);
      return contenders.map((contender) => ({ corpus, contender, file, passes: [] as Pass[] }));
    });
    // The first round warms the machine and this process's code, and is thrown away.
    for (let round = 0; round <= plan.rounds; round++) {
      progress(round === 0 ? 'warming up' : `round ${round} of ${plan.rounds}`);
      for (const { corpus, contender, file, passes } of samples) {
        const pass = await contender.pass(corpus, file);
        if (round > 0) passes.push(pass);
      }
    }
    return samples.map(({ corpus, contender, passes }) => ({
      corpus: corpus.name,
      contender: contender.name,
      bytes: corpus.bytes.length,
      passes,
    }));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

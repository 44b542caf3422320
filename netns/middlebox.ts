/** A middlebox: a router of a topology that drops, changes or refuses packets. */
import type { Topology } from './topology.js';

/** What is matched, in the words of nft(8). */
export const SYN = 'tcp flags & (syn|ack) == syn';
export const SYN_ACK = 'tcp flags & (syn|ack) == (syn|ack)';
export const TPOT_OPTION = 'tcp option 253';

/** Replaces what `host` does to the packets of a hook by these nft rules, one a line; none: it lets everything pass. */
export async function setMiddlebox(
  topology: Topology,
  host: string,
  rules: readonly string[],
  hook: 'forward' | 'output' | 'input' = 'forward',
): Promise<void> {
  const table = `inet tpot_middlebox_${hook}`;
  const lines = rules.map((rule) => `    ${rule}\n`).join('');
  const chain = `  chain ${hook} {\n    type filter hook ${hook} priority 0\n${lines}  }\n`;
  const rebuilt = rules.length === 0 ? '' : `table ${table} {\n${chain}}\n`;
  const input = `table ${table} {}\ndelete table ${table}\n${rebuilt}`;
  await topology.host(host).must('nft', ['-f', '-'], { input });
}

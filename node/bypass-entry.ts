/** One entry of a bypass list, as people write it: `PREFIX [PORTS]`; `*` is every address of both families. */
import { parsePrefix, type Prefix } from '../core/address.js';
import type { BypassEntry } from '../tpot/bypass.js';
import type { PortRange } from '../tpot/policy.js';
import { parsePortRange } from './units.js';

/** The key `bypass` as written. */
export interface RawBypass {
  readonly to?: readonly string[];
  readonly from?: readonly string[];
  readonly files?: readonly string[];
}

function prefixes(text: string): readonly Prefix[] {
  const written = text === '*' ? ['0.0.0.0/0', '::/0'] : [text];
  return written.flatMap((prefix) => parsePrefix(prefix) ?? []);
}

/** `PREFIX [PORTS]`, an entry for each prefix and range; undefined for anything else. */
export function parseBypass(text: string): readonly Omit<BypassEntry, 'side'>[] | undefined {
  const [first = '', ports = '0-65535', ...more] = text.trim().split(/\s+/);
  const found = prefixes(first);
  const ranges = ports.split(',').map(parsePortRange);
  if (found.length === 0 || more.length > 0) return undefined;
  const whole = ranges.filter((range): range is PortRange => range !== undefined);
  if (whole.length < ranges.length) return undefined;
  return found.flatMap((prefix) => whole.map((range) => ({ prefix, ports: range })));
}

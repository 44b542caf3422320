/** Sends a response that is stored to its client in a way in which it can leave for the kernel, and be copied there. */
import type { CacheStatus } from '../../cache/cache-status.js';
import type { Fill } from '../../cache/fill.js';
import type { ResponseHead } from '../../cache/storable.js';
import type { ClientConnection } from './connection.js';
import { passOn, passOnFill, takesChunks, type Delivery } from './deliver.js';
import { leaveWhenLong, mayBeLong } from './long-body.js';
import { TappedBody, type FillSource } from './tapped-body.js';

/** `least`: bytes that must be to come, or, where nobody knows, must have come. */
export function deliverTapped(
  { connection, delivery, least }: { connection: ClientConnection; delivery: Delivery; least: number },
  { fill, head, status }: { fill: Fill; head: ResponseHead; status: CacheStatus },
  source: FillSource,
): boolean {
  const { upstream, message, content } = source;
  const { leg } = upstream;
  if (leg === undefined || !mayBeLong(head, least)) return false;
  const raw = takesChunks(delivery, head) ? upstream.raw : undefined;
  if (raw === undefined && head.framing !== 'length') return false;
  const copy = new TappedBody(source, fill, head, raw !== undefined);
  if (raw === undefined) {
    passOnFill(delivery, head, fill, status);
  } else {
    // Two ways out of one message: the slower one sets the pace.
    content.ready = () => !delivery.response.writableNeedDrain;
    const onlooker = { see: (bytes: Buffer) => copy.see(bytes), ready: () => !content.full };
    if (!passOn(delivery, message, head, status, raw, onlooker)) return true;
  }
  const sent = (): boolean => upstream.sent;
  leaveWhenLong({ connection, delivery, head, message, leg, sent, raw: raw?.begun === true, least, copy });
  return true;
}
